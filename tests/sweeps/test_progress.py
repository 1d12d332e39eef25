"""What a sweep says on the terminal."""

import dataclasses

import pytest

from patchtrain.record import TrialRecord, TrialStatus
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan
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
    say_resumed(0, 0)
    assert capsys.readouterr().out == ""
