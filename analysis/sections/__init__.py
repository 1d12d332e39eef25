"""The parts of the page, one file each: numbers, figure, table and text of a part in one place.

To add one: write `sections/NAME.py` with a `SECTION` and put NAME into `ORDER`. The page, its table
of contents and the exported files follow from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from analysis.sections.section import Section

ORDER = (
    "answer",
    "pareto",
    "hypervolume",
    "importance",
    "marginals",
    "fusion",
    "influence",
    "memory",
    "waste",
    "curves",
    "paper",
    "trials",
    "made",
)
"""Modules of this package in the order of the page."""


def load_sections(names: Sequence[str] = ORDER) -> tuple[Section, ...]:
    """Return the section of each module of that name."""
    return tuple(import_module(f"{__name__}.{name}").SECTION for name in names)
