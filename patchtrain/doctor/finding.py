"""`Finding`: what one check of the doctor found. Knows nothing of the checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
"""A check passed; passed, but the user should know; did not pass; could not be judged."""

_PATH = re.compile(r"(?<![\w/])(?:file://|~[\w.-]*)?(?:/[\w.@+-]+)*/([\w.@+-]+)")
_FILE = re.compile(r"\w\.[A-Za-z]\w*$")


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    status: str
    told: str
    """One line, with the figures that count."""
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; sizes in bytes, times in seconds."""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values, without paths of the machine."""
        return _without_paths(asdict(self))


def failed(told: str, remedy: str = "", **figures: Any) -> Finding:
    """Return the finding of a check that did not pass."""
    return Finding(FAILED, told, remedy, figures)


def passed(told: str, **figures: Any) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(OK, told, figures=figures)


def judged(good: bool, told: str, remedy: str, **figures: Any) -> Finding:
    """Return a finding that passed if `good`, and else failed with `remedy`."""
    return passed(told, **figures) if good else failed(told, remedy, **figures)


def warned(told: str, remedy: str, **figures: Any) -> Finding:
    """Return the finding of a check that passed, with something to know."""
    return Finding(WARNING, told, remedy, figures)


def skipped(told: str, **figures: Any) -> Finding:
    """Return the finding of a check that could not be judged."""
    return Finding(SKIPPED, told, figures=figures)


def _last_part(path: re.Match[str]) -> str:
    """Return the name of a file; a folder's may be a person's."""
    return path[1] if _FILE.search(path[1]) else "(folder)"


def _without_paths(value: Any) -> Any:
    """Return `value` with only the name of the file of each path, since paths may name people."""
    if isinstance(value, str):
        return _PATH.sub(_last_part, value)
    if isinstance(value, Mapping):
        return {name: _without_paths(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(item) for item in value]
    return value
