"""Importance, pairs and memory: what is worked out of the trials of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up_run import write_made_up_run

from analysis.attribution import MOST_TRIALS, attributions
from analysis.importance import (
    FEWEST_TRIALS,
    MOST_TRIALS_OF_FANOVA,
    feasibility,
    importances,
    known_peaks,
)
from analysis.load import load_run
from analysis.pairs import fusion_pairs
from analysis.selection import best_per_budget
from analysis.settings import shown_settings, varied_settings
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
    trials = load_run(write_run(mixed_trials)).trials
    peaks = dict(zip(trials["trial_id"], known_peaks(trials), strict=True))
    assert peaks["t1"] == 400_000_001
    assert np.isnan(peaks["t6"])
    assert peaks["t7"] == 2_600_000_000


def test_feasibility_is_known_where_a_trial_had_a_budget(
    write_run: Any, mixed_trials: Any, trial: Any
) -> None:
    more = [trial("free", budget_bytes=None), trial("over", peak_allocated_bytes=3 * GB)]
    trials = load_run(write_run([*mixed_trials, *more])).trials
    fits = dict(zip(trials["trial_id"], feasibility(trials), strict=True))
    assert [fits[f"t{i}"] for i in (1, 2, 6, 7, 8)] == [1, 1, 0, 0, 1]
    assert np.isnan(fits["t9"])
    assert np.isnan(fits["free"])
    assert fits["over"] == 0


def test_settings_that_differ_are_found(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    assert varied_settings(run) == ("method", "backbone", "patch_size", "fusion", "budget_bytes")
    assert "norm" not in shown_settings(run)


def test_pairs_differ_in_fusion_alone(write_run: Any, trial: Any) -> None:
    concat = {"fusion": "concat", "peak_allocated_bytes": 1_100_000_000}
    trials = [
        trial("a", metric=0.5),
        trial("b", metric=0.6, **concat),
        trial("other_patch", metric=0.9, patch_size=64, **concat),
        trial("other_seed", metric=0.1, seed=1, **concat),
        trial("c", metric=0.5, seed=2, budget_bytes=8 * GB),
        trial("d", metric=0.4, seed=2, patch_microbatch="auto", **concat),
        trial("stopped", status=TrialStatus.STOPPED_EARLY, seed=3),
        trial("e", seed=3, **concat),
        trial("patchgd", method="patchgd", seed=4),
        trial("patchgd_concat", method="patchgd", seed=4, **concat),
    ]
    found = fusion_pairs(load_run(write_run(trials)))
    assert [(pair.add, pair.concat) for pair in found.pairs] == [("a", "b"), ("c", "d")]
    assert [pair.metric_gain for pair in found.pairs] == pytest.approx([0.1, -0.1])
    assert [pair.added_bytes for pair in found.pairs] == [100_000_000] * 2
    assert found.mean_gain == pytest.approx(0.0)
    assert (found.num_better, found.num_worse) == (1, 1)
    assert found.median_peak_ratio == pytest.approx(1.1)
    # Student's t with one degree of freedom: 12.706 * deviation / sqrt(2)
    assert found.half_width == pytest.approx(12.7062 * 0.141421 / 2**0.5, rel=1e-4)


def test_of_equal_configurations_the_one_of_least_peak_makes_the_pair(
    write_run: Any, trial: Any
) -> None:
    trials = [
        trial("large", metric=0.1, peak_allocated_bytes=2 * GB),
        trial("small", metric=0.5),
        trial("concat", metric=0.6, fusion="concat"),
    ]
    (pair,) = fusion_pairs(load_run(write_run(trials))).pairs
    assert (pair.add, pair.concat) == ("small", "concat")


def test_no_pairs_is_no_mean(write_run: Any, trial: Any) -> None:
    found = fusion_pairs(load_run(write_run([trial("a")])))
    assert (found.pairs, found.mean_gain, found.half_width) == ((), None, None)


PARTS = {
    "peak_parameters_bytes": 100,
    "peak_gradients_bytes": 100,
    "peak_optimizer_bytes": 200,
    "peak_activations_bytes": 500,
    "peak_latent_bytes": 60,
    "peak_input_bytes": 40,
}


def test_memory_of_the_front_is_told_with_what_lowers_it(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", peak_allocated_bytes=1000, peak_phase="inner_iteration", **PARTS),
        trial("beaten", metric=0.1, peak_allocated_bytes=1000, **PARTS),
        trial("unknown", metric=0.1, peak_allocated_bytes=10),
        trial(
            "full",
            metric=0.9,
            method="full",
            peak_allocated_bytes=1100,
            **PARTS | {"peak_latent_bytes": 0},
        ),
    ]
    first, second = attributions(load_run(write_run(trials)))
    assert (first.trial_id, first.peak_bytes, first.phase) == ("a", 1000, "inner_iteration")
    assert sum(first.parts_bytes.values()) == 1000
    assert first.advice.startswith("activations 50%: patch_microbatch: auto")
    # what is in no part is told as such
    assert second.parts_bytes["other"] == 160
    assert "a patch method" in second.advice


def test_a_long_front_is_thinned_but_keeps_the_best_of_each_budget(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 3000))
    found = [each.trial_id for each in attributions(run)]
    assert len(found) == MOST_TRIALS
    assert {a.trial["trial_id"] for a in best_per_budget(run) if a.trial} <= set(found)


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
