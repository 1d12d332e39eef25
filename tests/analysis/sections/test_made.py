"""How a run was made."""

from __future__ import annotations

from typing import Any

from analysis.page.report import status_counts
from analysis.runs.load import load_run
from analysis.sections.made import facts, versions


def test_facts_tell_what_made_the_run(write_run: Any, mixed_trials: Any) -> None:
    sweep = {
        "command": "python sweeps/panda_budget.py",
        "num_trials": 12,
        "versions": {"ray": "2.60"},
    }
    run = load_run(write_run(mixed_trials, sweep=sweep))
    told = facts(run, "run")
    assert told["Command"] == "python sweeps/panda_budget.py"
    assert told["Trials"] == "8 of 12 asked for, 1 not launched as predicted not to fit"
    assert told["Device"] == "cpu"
    assert told["Started"] == "2025-01-02 03:04:05+00:00"
    assert versions(run, "run") == {"ray": "2.60", "torch": "2.15.0"}
    assert status_counts(run)["completed"] == 5
