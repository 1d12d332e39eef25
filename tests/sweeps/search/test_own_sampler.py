"""`--sampler package.module:Name`: the user's own sampler, found, tried out and recorded."""

from __future__ import annotations

import json
import sys

import optuna
import pytest
from made_up_sweep import SPACE, Refusals, make_search, predict, run_to_the_end

from patchtrain.errors import ConfigError
from patchtrain.record import TrialStatus
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import make_plan
from sweeps.run import main
from sweeps.search.samplers import SAMPLERS, check_sampler, make_sampler

PARTS = """
import optuna
from optuna.samplers import BaseSampler, RandomSampler

made = []

class Mine(RandomSampler):
    def __init__(self, seed, num_trials):
        super().__init__(seed=seed)
        made.append((seed, num_trials))

def make(seed, num_trials):
    return Mine(seed, num_trials)

class Constant(BaseSampler):
    # the least that Optuna asks for: always the first choice, or the lowest value
    def __init__(self, seed: int, num_trials: int) -> None: ...
    def infer_relative_search_space(self, study, trial):
        return {}
    def sample_relative(self, study, trial, search_space):
        return {}
    def sample_independent(self, study, trial, name, distribution):
        return getattr(distribution, "choices", [getattr(distribution, "low", None)])[0]

class OneObjective(RandomSampler):
    def __init__(self, seed, num_trials): ...
    def infer_relative_search_space(self, study, trial):
        study.direction
        return {}

number = 3

def no_arguments():
    return RandomSampler()

def fails(seed, num_trials):
    raise RuntimeError("two\\nlines")

def other(seed, num_trials):
    return optuna.create_study()
"""


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    """The user's module, in the current folder and nowhere else."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "own_samplers.py").write_text(PARTS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield
    sys.modules.pop("own_samplers", None)


def check(name):
    check_sampler(name, 0, 10, SPACE.distributions)


@pytest.mark.parametrize("name", ["Mine", "make", "Constant"])
def test_a_class_or_a_function_is_accepted_and_searches_to_the_end(name):
    check(f"own_samplers:{name}")
    refusals = Refusals(SPACE)
    search = make_search(
        predict=predict, refuse=refusals, sampler=f"own_samplers:{name}", num_trials=12
    )
    launched = run_to_the_end(search, SPACE)
    assert len(launched) == 12
    assert {record.status for record in launched} == {TrialStatus.COMPLETED}
    assert len({(*SPACE.identity(SPACE.params(r)), r.budget_bytes) for r in launched}) == 12


def test_it_is_made_with_a_seed_and_the_trials_of_a_budget():
    make_sampler("own_samplers:Mine", 7, 30)
    assert sys.modules["own_samplers"].made == [(7, 30)]
    make_sampler("own_samplers:Mine", 7, 0)
    assert sys.modules["own_samplers"].made[-1] == (7, 1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_built_in_samplers_are_made_the_same_way(name):
    assert isinstance(make_sampler(name, 0, 10), optuna.samplers.BaseSampler)
    check(name)


BAD = [
    ("own_nothing:Mine", "there is no module 'own_nothing' on the Python path"),
    ("own_samplers:Nothing", "has no 'Nothing'"),
    ("own_samplers:number", "is an object of type int, which cannot be called; name a class"),
    ("own_samplers:no_arguments", "calling it with seed=0, num_trials=2 failed (TypeError: no_arg"),
    ("own_samplers:fails", "failed (RuntimeError: two lines); it must take these two"),
    ("own_samplers:other", "returned an object of type Study; it must return an instance of"),
    ("own_samplers:OneObjective", "proposes nothing for a study of two objectives, metric and"),
    ("own_samplers:", "must have the form package.module:Name"),
    ("own_samplers", "own_samplers: unknown; use one of tpe, nsga2, gp, random, grid, or your own"),
]


@pytest.mark.parametrize(("name", "message"), BAD)
def test_a_bad_one_is_one_line_before_any_work(name, message, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(SWEEP, ["--smoke-test", "--out", str(out), "--sampler", name]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "--sampler" in error
    assert not out.exists()


def test_the_remedy_of_a_sampler_for_one_objective():
    with pytest.raises(ConfigError, match="give a sampler that supports several"):
        check("own_samplers:OneObjective")


def test_it_is_recorded_as_written():
    arguments = ["--smoke-test", "--sampler", "own_samplers:Mine"]
    plan = make_plan(SWEEP, parser(SWEEP).parse_args(arguments))
    assert json.loads(json.dumps(plan.description()))["sampler"] == "own_samplers:Mine"
