"""Importance, pairs and memory: what is worked out of the trials of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.runs.load import load_run
from analysis.sections.importance import (
    FEWEST_TRIALS,
    MOST_TRIALS_OF_FANOVA,
    feasibility,
    importances,
    known_peaks,
)
from patchtrain.record import TrialStatus

GB = 10**9


def _governed(trial: Any, num_trials: int) -> list[Any]:
    """Return trials whose metric is all patch_size, whose peak is all sampling_rate."""
    random = np.random.default_rng(0)
    trials = []
    for index in range(num_trials):
        patch_size = int(random.choice([64, 128, 256]))
        rate = float(random.uniform(0.05, 0.5))
        peak = int(rate * 4 * GB)
        fits = peak <= GB
        trials.append(
            trial(
                f"t{index}",
                patch_size=patch_size,
                sampling_rate=rate,
                inner_iterations=int(random.integers(1, 5)),
                budget_bytes=GB,
                status=TrialStatus.COMPLETED if fits else TrialStatus.PREDICTED_INFEASIBLE,
                metric=patch_size / 512 if fits else None,
                peak_allocated_bytes=peak if fits else None,
                predicted_peak_bytes=peak,
            )
        )
    return trials


@pytest.mark.parametrize("num_trials", [80, MOST_TRIALS_OF_FANOVA + 200])
def test_importance_finds_the_setting_that_governs(
    write_run: Any, trial: Any, num_trials: int
) -> None:
    run = load_run(write_run(_governed(trial, num_trials)))
    metric, peak, feasible = importances(run)
    assert next(iter(metric.shares)) == "patch_size"
    assert next(iter(peak.shares)) == "sampling_rate"
    assert next(iter(feasible.shares)) == "sampling_rate"
    for each, num_saying in ((metric, None), (peak, num_trials), (feasible, num_trials)):
        assert sum(each.shares.values()) == pytest.approx(1)
        assert next(iter(each.shares.values())) > 0.8
        assert num_saying in (None, each.num_trials)
    assert (peak.evaluator == "fANOVA") == (num_trials <= MOST_TRIALS_OF_FANOVA)


def test_importance_is_the_same_every_time(write_run: Any, trial: Any) -> None:
    run = load_run(write_run(_governed(trial, 40)))
    assert importances(run) == importances(run)


def test_importance_says_why_it_cannot_tell(write_run: Any, trial: Any) -> None:
    few = importances(load_run(write_run([trial("a"), trial("b", patch_size=64)], name="few")))
    assert few[0].why_not == f"only 2 trials say something about it, {FEWEST_TRIALS} are needed"
    alike = [trial(f"t{i}") for i in range(9)]
    assert (
        importances(load_run(write_run(alike, name="alike")))[0].why_not == "no setting was varied"
    )
    same = [trial(f"t{i}", patch_size=2**i) for i in range(9)]
    assert importances(load_run(write_run(same, name="same")))[0].why_not == (
        "it is the same in all 9 trials"
    )


def test_the_peak_of_a_trial_that_ran_out_of_memory_is_its_prediction(
    write_run: Any, mixed_trials: Any
) -> None:
    run = load_run(write_run(mixed_trials))
    peaks = dict(zip(run.trials["trial_id"], known_peaks(run), strict=True))
    assert peaks["t1"] == 400_000_001
    assert np.isnan(peaks["t6"])
    assert peaks["t7"] == 2_600_000_000


def test_feasibility_is_known_where_a_trial_had_a_budget(
    write_run: Any, mixed_trials: Any, trial: Any
) -> None:
    more = [trial("free", budget_bytes=None), trial("over", peak_allocated_bytes=3 * GB)]
    run = load_run(write_run([*mixed_trials, *more]))
    fits = dict(zip(run.trials["trial_id"], feasibility(run), strict=True))
    assert [fits[f"t{i}"] for i in (1, 2, 6, 7, 8)] == [1, 1, 0, 0, 1]
    assert np.isnan(fits["t9"])
    assert np.isnan(fits["free"])
    assert fits["over"] == 0


def test_a_setting_that_some_trials_do_not_have_keeps_them_all(write_run: Any, trial: Any) -> None:
    trials = [
        trial(
            f"t{i}",
            metric=(i % 3) / 3 if i % 2 else 0.9,
            encoder="a" if i % 2 else None,
            sampling_rate=(i % 3) / 3 + 0.1 if i % 2 else None,
        )
        for i in range(30)
    ]
    metric = importances(load_run(write_run(trials)))[0]
    assert metric.num_trials == 30
    assert set(metric.shares) == {"sampling_rate"}


def test_metrics_beyond_all_bounds_are_not_learned_from(write_run: Any, trial: Any) -> None:
    trials = [trial(f"t{i}", patch_size=32 * (i % 4 + 1), metric=i / 10) for i in range(12)]
    odd = [trial("odd", metric=1.7e308), trial("odd2", metric=-1.7e308)]
    assert importances(load_run(write_run([*trials, *odd])))[0].num_trials == 12
