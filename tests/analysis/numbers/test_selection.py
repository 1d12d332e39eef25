"""Which trial is best within a budget, and how it is trained again."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.numbers.columns import is_candidate, is_on_front
from analysis.numbers.seeds import seeds_text
from analysis.numbers.selection import (
    answer,
    best_per_budget,
    best_within,
    smallest_reaching,
    why_nothing_fits,
)
from analysis.runs.load import load_run
from patchtrain.record import TrialStatus

GB = 10**9


def _best_id(run: Any, budget_bytes: int | None) -> str | None:
    trial = best_within(run, budget_bytes)
    return None if trial is None else trial["trial_id"]


def test_only_completed_trials_with_a_number_and_a_peak_count(write_run: Any, trial: Any) -> None:
    run = load_run(
        write_run(
            [
                trial("good"),
                trial("nan", metric=float("nan")),
                trial("inf", metric=float("inf")),
                trial("none", metric=None),
                trial("no_peak", peak_allocated_bytes=None),
                trial("absurd_peak", peak_allocated_bytes=-1),
                *(
                    trial(status.value, status=status)
                    for status in TrialStatus
                    if status is not TrialStatus.COMPLETED
                ),
            ]
        )
    )
    names = run.trials["trial_id"].to_numpy()
    assert names[is_candidate(run)].tolist() == ["good"]
    assert names[is_on_front(run)].tolist() == ["good"]


def test_front_of_the_mixed_run(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    assert run.trials["trial_id"][is_on_front(run)].tolist() == ["t1", "t3", "t4"]


def test_a_trial_counts_for_every_budget_that_its_peak_fits(
    write_run: Any, mixed_trials: Any
) -> None:
    run = load_run(write_run(mixed_trials))
    # t3 ran under 2 GB but peaked below 1 GB
    assert _best_id(run, GB) == "t3"
    assert _best_id(run, 2 * GB) == "t4"


def test_a_peak_equal_to_the_budget_fits_and_one_byte_more_does_not(
    write_run: Any, trial: Any
) -> None:
    run = load_run(write_run([trial("a", peak_allocated_bytes=GB)]))
    assert _best_id(run, GB) == "a"
    assert _best_id(run, GB - 1) is None
    assert _best_id(run, None) == "a"


def test_ties_go_to_the_smaller_peak_then_to_the_trial_id(write_run: Any, trial: Any) -> None:
    trials = [
        trial("c", peak_allocated_bytes=200),
        trial("b", peak_allocated_bytes=100),
        trial("a", peak_allocated_bytes=100),
        trial("d", peak_allocated_bytes=50, metric=0.1),
    ]
    assert _best_id(load_run(write_run(trials)), GB) == "a"


def test_best_within_equals_brute_force_on_random_runs(write_run: Any, trial: Any) -> None:
    random = np.random.default_rng(0)
    trials = [
        trial(f"t{i}", metric=float(metric), peak_allocated_bytes=int(peak))
        for i, (metric, peak) in enumerate(
            zip(random.integers(0, 4, 40) / 4, random.integers(1, 9, 40), strict=True)
        )
    ]
    run = load_run(write_run(trials))
    for budget in range(10):
        fits = [t for t in trials if t.peak_allocated_bytes <= budget]
        ranked = sorted(fits, key=lambda t: (-t.metric, t.peak_allocated_bytes, t.trial_id))
        assert _best_id(run, budget) == (ranked[0].trial_id if ranked else None)


def test_gain_is_over_the_next_smaller_budget(write_run: Any, mixed_trials: Any) -> None:
    sweep = {"budgets_bytes": [100, GB, 2 * GB, 3 * GB]}
    answers = best_per_budget(load_run(write_run(mixed_trials, sweep=sweep)))
    assert [each.budget_bytes for each in answers] == [100, GB, 2 * GB, 3 * GB]
    assert answers[0].trial is None
    assert answers[0].command is None
    assert answers[1].gain is None  # nothing fits the smaller one
    assert answers[2].gain == 0.71234567891 - 0.6180339887
    assert answers[2].gain_over_bytes == GB
    assert answers[3].gain == 0


def test_a_run_without_budgets_has_one_answer_without_limit(write_run: Any, trial: Any) -> None:
    (only,) = best_per_budget(load_run(write_run([trial("a", budget_bytes=None)])))
    assert only.budget_text == "no limit"
    assert only.trial is not None
    assert only.command is not None
    assert "--set" not in only.command


def test_when_nothing_fits_the_smallest_completed_peak_is_named(
    write_run: Any, mixed_trials: Any
) -> None:
    line = why_nothing_fits(load_run(write_run(mixed_trials)), 1000)
    assert "within 1KB" in line
    assert "(400000001 bytes)" in line


def test_when_nothing_completed_the_smallest_peak_of_all_is_named(
    write_run: Any, trial: Any
) -> None:
    status = TrialStatus.OUT_OF_MEMORY
    trials = [
        trial("a", status=status, metric=None, peak_allocated_bytes=700),
        trial("b", status=status, metric=None, peak_allocated_bytes=None),
    ]
    assert "700B" in why_nothing_fits(load_run(write_run(trials)), None)
    run = load_run(write_run(trials[1:], name="unmeasured"))
    assert "no peak was measured" in why_nothing_fits(run, None)


def test_replicates_say_how_sure_a_metric_is_and_are_never_best(write_run: Any, trial: Any) -> None:
    run = load_run(
        write_run(
            [
                trial("a", metric=0.6, group="a"),
                trial("a-s1", metric=0.9, group="a", seed=1),
                trial("a-s2", metric=0.3, group="a", seed=2),
                trial("a-s3", metric=None, group="a", seed=3, status=TrialStatus.FAILED),
                trial("b", metric=0.5, group="b", peak_allocated_bytes=GB // 2),
            ]
        )
    )
    best = answer(run, None)
    assert best.trial is not None and best.trial["trial_id"] == "a"
    assert seeds_text(best.seeds) == "0.6000 ± 0.3000 (3 seeds)"
    assert run.trials["trial_id"][is_on_front(run)].tolist() == ["a", "b"]
    assert answer(run, GB // 2).seeds is None


def test_where_all_trials_failed_their_error_is_the_reason(write_run: Any, trial: Any) -> None:
    failed = trial("a", status=TrialStatus.FAILED, metric=None, error="LossNotFinite: nan")
    why = why_nothing_fits(load_run(write_run([failed])), None)
    assert why == "no trial completed; all 1 failed, the first with: LossNotFinite: nan"


def test_smallest_reaching_equals_brute_force_on_random_runs(write_run: Any, trial: Any) -> None:
    random = np.random.default_rng(1)
    trials = [
        trial(f"t{i}", metric=float(metric), peak_allocated_bytes=int(peak))
        for i, (metric, peak) in enumerate(
            zip(random.integers(0, 9, 40) / 8, random.integers(1, 9, 40), strict=True)
        )
    ]
    run = load_run(write_run(trials))
    for wanted in np.arange(0, 1.3, 0.1):
        reaching = [t for t in trials if t.metric >= wanted]
        ranked = sorted(reaching, key=lambda t: (t.peak_allocated_bytes, -t.metric, t.trial_id))
        found = smallest_reaching(run, float(wanted))
        assert (found or {}).get("trial_id") == (ranked[0].trial_id if ranked else None)


def test_with_confidence_the_sure_configuration_wins(repeated: Any) -> None:
    assert best_within(repeated, None)["trial_id"] == "c"
    assert best_within(repeated, None, confidence=0.95)["trial_id"] == "b"
    # a's mean over seeds is 0.6, b's is 0.61
    assert best_within(repeated, 1400, confidence=0.95)["trial_id"] == "a"


def test_with_confidence_the_largest_peak_of_the_seeds_must_fit(repeated: Any) -> None:
    assert best_within(repeated, 1519, confidence=0.9)["trial_id"] == "a"
    assert best_within(repeated, 1520, confidence=0.9)["trial_id"] == "b"


def test_smallest_reaching_with_confidence_asks_the_lower_bound(repeated: Any) -> None:
    assert smallest_reaching(repeated, 0.58, confidence=0.95)["trial_id"] == "b"
    assert smallest_reaching(repeated, 0.3, confidence=0.6)["trial_id"] == "a"
    assert smallest_reaching(repeated, 0.7, confidence=0.6) is None
    assert smallest_reaching(repeated, 0.58, confidence=0.95, budget_bytes=1519) is None
