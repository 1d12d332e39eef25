"""Learning curves: which are drawn, and as they were recorded."""

from __future__ import annotations

from typing import Any

from made_up_run import write_made_up_run

from analysis.runs.load import load_run
from analysis.sections.curves import MOST_CURVES, curves_chart, curves_info

GB = 10**9


def test_curves_are_the_epochs_as_recorded_and_name_the_best(
    write_run: Any, mixed_trials: Any
) -> None:
    info = curves_info(load_run(write_run(mixed_trials)))
    curves = {curve.trial_id: curve for curve in info.curves}
    assert set(curves) == {"t1", "t2", "t3", "t4", "t5"}
    assert curves["t4"].epochs == (1, 2, 3)
    assert curves["t4"].metrics == tuple(0.71234567891 * epoch / 3 for epoch in (1, 2, 3))
    assert {c.trial_id: c.label for c in info.curves if c.label} == {
        "t3": "best in 1GB",
        "t4": "best in 2GB",
    }


def test_one_trial_best_in_two_budgets_has_one_curve(write_run: Any, trial: Any) -> None:
    sweep = {"budgets_bytes": [2 * GB, 4 * GB]}
    info = curves_info(load_run(write_run([trial("a")], sweep=sweep)))
    assert [curve.label for curve in info.curves] == ["best in 2GB, 4GB"]


def test_curves_of_many_trials_are_thinned_but_keep_the_best(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 600, num_repeated=0))
    info = curves_info(run)
    num_with_epochs = run.epochs["trial_id"].nunique()
    assert len(info.curves) == MOST_CURVES
    assert info.num_left_out == num_with_epochs - MOST_CURVES
    assert [curve.label for curve in info.curves if curve.label] != []
    assert "trial" in curves_chart(info).panels[0].series[0].hover[0]
