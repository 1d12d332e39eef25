"""What a sweep says on the terminal."""

import dataclasses

import pytest

from patchtrain.record import TrialRecord, TrialStatus
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan, resumed
from sweeps.progress import Progress, say_resumed, say_searched, say_start, trial_line
from sweeps.results.records import unstarted_record

NAMES = ("patch_size", "sampling_rate", "inner_iterations", "fusion")


def plan_of(*arguments):
    return make_plan(SWEEP, parser(SWEEP).parse_args(["--out", "here", *arguments]))


def record_of(plan, status=TrialStatus.COMPLETED, trial_id="00003", **changes) -> TrialRecord:
    config = dataclasses.replace(plan.space.base, budget=20_000_000)
    record = unstarted_record(config, trial_id, "test", RuntimeError("two\nlines"), group=trial_id)
    return dataclasses.replace(record, status=status, **changes)


def test_a_failed_trial_is_one_line():
    line = trial_line(record_of(plan_of(), TrialStatus.FAILED), NAMES)
    assert line.startswith("trial 00003 (patch 32, S 0.2, J 4, concat) in 20MB: failed")
    assert line.endswith("RuntimeError: two lines")


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (TrialStatus.COMPLETED, "completed, accuracy 0.750, peak 19MB"),
        (TrialStatus.STOPPED_EARLY, "stopped early, accuracy 0.750, peak 19MB"),
        (TrialStatus.OUT_OF_MEMORY, "out of memory, reached 19MB"),
        (TrialStatus.PREDICTED_INFEASIBLE, "predicted not to fit, RuntimeError: two lines"),
    ],
)
def test_the_line_says_how_a_trial_ended(status, end):
    record = record_of(plan_of(), status, metric=0.75, peak_allocated_bytes=19_000_000)
    assert trial_line(record, NAMES).endswith(end)


def test_the_line_names_what_the_sweep_varies():
    varied = ("--vary", "backbone=resnet18,resnet50", "--vary", "learning_rate")
    names = plan_of("--budgets", "4GB", *varied).space
    line = trial_line(record_of(plan_of(), backbone="resnet18"), tuple(names.distributions))
    assert "resnet18" in line
    assert "learning_rate 0.001" in line


def test_only_launched_trials_are_counted(capsys):
    plan = plan_of("--num-trials", "5")
    progress = Progress(plan, [record_of(plan), record_of(plan, TrialStatus.PREDICTED_INFEASIBLE)])
    progress(record_of(plan, TrialStatus.PREDICTED_INFEASIBLE, "00004"))
    progress(record_of(plan, TrialStatus.OUT_OF_MEMORY, "00005"))
    progress(dataclasses.replace(record_of(plan, trial_id="00003-s1"), group="00003", seed=1))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in lines] == ["[-", "[2/5", "[seed 1"]
    assert (progress.num_launched, progress.num_refused) == (2, 2)


def test_a_trial_s_line_says_the_best_so_far_and_how_long_the_rest_may_take(capsys):
    plan = plan_of("--num-trials", "5")
    now = [100.0]
    earlier = record_of(plan, metric=0.5)
    progress = Progress(plan, [earlier], clock=lambda: now[0])
    for number, (metric, status) in enumerate(
        [
            (0.25, TrialStatus.COMPLETED),
            (float("nan"), TrialStatus.COMPLETED),
            (0.75, TrialStatus.STOPPED_EARLY),
            (0.625, TrialStatus.COMPLETED),
        ]
    ):
        now[0] += 60.0
        progress(record_of(plan, status, f"0001{number}", metric=metric))
    ends = [line.split("peak")[1] for line in capsys.readouterr().out.splitlines()]
    assert ends == [
        " unknown; best so far 0.500 (00003); about 3 min left",
        " unknown; best so far 0.500 (00003); about 2 min left",
        " unknown; best so far 0.500 (00003); about 60 s left",
        " unknown; best so far 0.625 (00013)",
    ]


@pytest.mark.parametrize(
    ("given", "num_trials", "said"),
    [
        ((), 18, "new budget 90MB: it learns from the earlier trials; 6 more are launched"),
        (("--num-trials", "12"), 12, "add --num-trials 18 to launch as many under it"),
        (("--num-trials", "15"), 15, "3 more are launched"),
    ],
)
def test_a_budget_that_is_new_gets_as_many_trials_as_the_others(given, num_trials, said, capsys):
    arguments = ("--resume", "--budgets", "20MB", "60MB", "90MB", *given)
    options = parser(SWEEP).parse_args(["--out", "here", *arguments])
    held = {"budgets_bytes": [20_000_000, 60_000_000], "num_trials": 12}
    plan = resumed(make_plan(SWEEP, options), options, held)
    assert plan.num_trials == num_trials
    say_resumed(plan, 12, 0)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "resuming: 12 finished, 0 cut off"
    assert said in second


def test_a_resumed_sweep_launches_what_it_was_asked_for():
    options = parser(SWEEP).parse_args(["--out", "here", "--resume"])
    plan = make_plan(SWEEP, options)
    assert plan.num_trials == 12
    held = {"budgets_bytes": list(plan.budgets_bytes), "num_trials": 40}
    assert resumed(plan, options, held).num_trials == 40
    assert resumed(plan, options, {}) == plan


def test_the_start_says_what_is_special(capsys):
    say_start(plan_of("--sampler", "gp", "--scheduler", "mo-asha", "--seeds", "3"))
    out = capsys.readouterr().out
    assert out.startswith("SAMPLE DATA")
    assert "sampler gp, scheduler mo-asha, Pareto front with 3 seeds; results in" in out


def test_the_end_says_what_was_spared_and_that_the_space_is_used_up(capsys):
    plan = plan_of("--num-trials", "5")
    progress = Progress(plan, [record_of(plan), record_of(plan, TrialStatus.PREDICTED_INFEASIBLE)])
    say_searched(plan, progress, [20_000_000])
    spared, used_up = capsys.readouterr().out.splitlines()
    assert spared == "not launched, as predicted not to fit: 1 configurations"
    assert "all configurations that fit 20MB were tried: 1 trials instead of 5" in used_up
    say_searched(plan, Progress(plan, []), [])
    say_resumed(plan, 0, 0)
    assert capsys.readouterr().out == ""
