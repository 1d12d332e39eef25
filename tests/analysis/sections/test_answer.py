"""The answer: its sentences and its table."""

from __future__ import annotations

from typing import Any

from report_parts import tables_of

from analysis.numbers.selection import best_per_budget
from analysis.runs.load import load_run
from analysis.sections.answer import headline
from analysis.sections.made import facts
from patchtrain.record import TrialStatus

GB = 10**9


def test_headline_says_what_more_memory_buys(write_run: Any, mixed_trials: Any) -> None:
    sweep = {"budgets_bytes": [100, GB, 2 * GB, 3 * GB]}
    run = load_run(write_run(mixed_trials, sweep=sweep))
    none, small, large, larger = headline(best_per_budget(run), run)
    assert none == "In 100B no trial completed."
    assert small.startswith("In 1GB the best accuracy is 0.6180: local_global")
    assert large.startswith("In 2GB the best accuracy is 0.7123, 0.0943 more than in 1GB: ")
    assert "the same model as in 2GB" in larger
    assert "brought nothing" in larger


def test_the_report_shows_seeds_and_settings_that_differ(write_run: Any, trial: Any) -> None:
    run = load_run(
        write_run(
            [
                trial("a", metric=0.6, group="a"),
                trial("a-s1", metric=0.5, group="a", seed=1),
                trial("b", metric=0.5, group="b", learning_rate=3e-3),
                trial("c", metric=None, group="c", status=TrialStatus.PREDICTED_INFEASIBLE),
            ]
        )
    )
    best = tables_of(run)["best"]
    (row,) = best.rows
    texts = {column.heading: cell.text for column, cell in zip(best.columns, row, strict=True)}
    assert texts["Over seeds"] == "0.5500 ± 0.0707 (2 seeds)"
    assert texts["Learning rate"] == "0.001"
    assert "Precision" not in texts
    told = facts(run, "run")["Trials"]
    assert told.endswith("1 not launched as predicted not to fit, 1 with further seeds")
    assert told.startswith("2, ")
