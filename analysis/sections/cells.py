"""Columns and cells that tables of several sections share: a trial's run and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.draw.tables import Cell, Column, plain_cell, text_column
from analysis.numbers.varied import is_text, shown_settings
from analysis.runs.run import Run
from analysis.settings import used_setting


def run_columns(several: bool) -> list[Column]:
    """Return the column that names the run of a row; none where there is only one run."""
    return [text_column("Run")] if several else []


def run_cells(run: str, several: bool) -> list[Cell]:
    """Return the cell below `run_columns`."""
    return [Cell(run)] if several else []


def setting_columns(run: Run) -> list[Column]:
    """Return a column for each setting that tables of the run show."""
    return [
        Column(heading, is_number=not is_text(run.trials[name]))
        for name, heading in shown_settings(run).items()
    ]


def setting_cells(trial: Mapping[str, Any], settings: Sequence[str]) -> list[Cell]:
    """Return the settings of a trial; a dash for those that its method ignores."""
    return [plain_cell(used_setting(trial, name)) for name in settings]
