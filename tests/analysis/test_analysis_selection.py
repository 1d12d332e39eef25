"""Which trial is best within a budget, and how it is trained again."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest

from analysis.load import load_run
from analysis.selection import (
    answer,
    best_per_budget,
    best_within,
    describe,
    exact_size,
    front_hypervolume,
    is_candidate,
    is_on_front,
    why_nothing_fits,
)
from patchtrain.record import TrialStatus
from patchtrain.units import parse_bytes

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
    assert names[is_candidate(run.trials)].tolist() == ["good"]
    assert names[is_on_front(run.trials)].tolist() == ["good"]


def test_front_of_the_mixed_run(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    assert run.trials["trial_id"][is_on_front(run.trials)].tolist() == ["t1", "t3", "t4"]


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


def test_command_is_quoted_and_names_the_config_of_the_trial(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a b;rm -rf ~'")], name="my run")
    words = shlex.split(str(answer(load_run(run_dir), 2 * GB).command))
    config = run_dir / "trials" / "a b;rm -rf ~'" / "config.yaml"
    assert config.exists()
    assert words == ["patchtrain", "train", str(config), "--out", "trained/a b;rm -rf ~'"]


def test_command_holds_the_rerun_to_the_budget_that_was_asked(write_run: Any, trial: Any) -> None:
    run = load_run(write_run([trial("a", budget_bytes=8 * GB, peak_allocated_bytes=GB)]))
    commands = [str(answer(run, budget).command) for budget in (8 * GB, 2 * GB, 1234567890)]
    assert "--set" not in commands[0]
    assert "--set budget=2GB" in commands[1]
    assert "--set budget=1234567890B" in commands[2]


@pytest.mark.parametrize("num_bytes", [1, 999, 1024, 8 * GB, 2**33, 1234567890, 83_200_000])
def test_exact_size_reads_back_as_the_same_bytes(num_bytes: int) -> None:
    assert parse_bytes(exact_size(num_bytes)) == num_bytes


def test_settings_that_a_method_ignores_are_not_described(write_run: Any, trial: Any) -> None:
    assert describe(trial("a").to_row()) == (
        "local_global, resnet18, image 512 px, patch 128 px, sampling 0.2 (k 3), "
        "4 inner iterations, fusion add"
    )
    assert "fusion" not in describe(trial("a", method="patchgd").to_row())
    downsampled = describe(trial("a", method="downsampled").to_row())
    assert downsampled == "downsampled, resnet18, image 512 px, patch 128 px"
    assert describe(trial("a", method="full").to_row()) == "full, resnet18, image 512 px"


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


def test_hypervolume_is_measured_from_the_largest_budget(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", metric=0.5, peak_allocated_bytes=GB),
        trial("b", metric=0.75, peak_allocated_bytes=2 * GB, budget_bytes=4 * GB),
    ]
    volume = front_hypervolume(load_run(write_run(trials)))
    assert volume is not None
    assert volume.reference_peak_bytes == 4 * GB
    assert volume.value == pytest.approx(0.5 * 1 + 0.75 * 2)


def test_a_run_without_a_result_has_no_hypervolume(write_run: Any, trial: Any) -> None:
    status = TrialStatus.OUT_OF_MEMORY
    assert front_hypervolume(load_run(write_run([trial("a", status=status)]))) is None


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
    assert str(best.seeds) == "0.6000 ± 0.3000 (3 seeds)"
    assert run.trials["trial_id"][is_on_front(run.trials)].tolist() == ["a", "b"]
    assert answer(run, GB // 2).seeds is None


def test_where_all_trials_failed_their_error_is_the_reason(write_run: Any, trial: Any) -> None:
    failed = trial("a", status=TrialStatus.FAILED, metric=None, error="LossNotFinite: nan")
    why = why_nothing_fits(load_run(write_run([failed])), None)
    assert why == "no trial completed; all 1 failed, the first with: LossNotFinite: nan"
