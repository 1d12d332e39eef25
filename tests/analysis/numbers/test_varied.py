"""Which settings differ between the trials of a run."""

from __future__ import annotations

from typing import Any

from analysis.numbers.varied import shown_settings, varied_settings
from analysis.runs.load import load_run


def test_settings_that_differ_are_found(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    assert varied_settings(run) == ("method", "backbone", "patch_size", "fusion", "budget_bytes")
    assert "norm" not in shown_settings(run)
