"""Each sampler by name, in a search over a made-up memory law."""

import warnings

import pytest
from made_up_sweep import (
    LARGE,
    SMALL,
    SPACE,
    Refusals,
    make_search,
    predict,
    run_to_the_end,
    trials_of,
    tried_of,
)
from optuna.storages import InMemoryStorage

from patchtrain.config import TrialConfig
from patchtrain.record import TrialStatus
from sweeps.search.patch_space import patch_space
from sweeps.search.samplers import GRID_STEPS, SAMPLERS
from sweeps.search.study import TRIAL_ID

MIXED = patch_space(
    TrialConfig(image_size=256, patch_size=64),
    varied={"method": None, "learning_rate": None, "precision": None, "patch_microbatch": None},
)
"""Every kind of parameter: floats, whole numbers, texts."""


SMALL_ONLY = {"budgets": (SMALL,)}


def rows(*, space=SPACE, **settings):
    refusals = Refusals(space)
    search = make_search(space=space, predict=predict, refuse=refusals, **settings)
    launched = run_to_the_end(search, space)
    return launched, refusals.records


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_launches_as_many_trials_as_wanted_and_wastes_none(sampler):
    num_trials = 6 if sampler == "gp" else 16
    launched, refused = rows(space=MIXED, sampler=sampler, num_trials=num_trials, **SMALL_ONLY)
    assert [record.status for record in launched] == [TrialStatus.COMPLETED] * num_trials
    tried = tried_of(launched + refused, MIXED)
    assert len(set(tried)) == len(tried)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_seeds_propose_equal_trials_and_other_seeds_others(sampler):
    num_trials = 5 if sampler == "gp" else 14
    one, two, other = (
        [
            SPACE.params(r)
            for r in rows(sampler=sampler, **SMALL_ONLY, num_trials=num_trials, seed=seed)[0]
        ]
        for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


@pytest.mark.parametrize(("sampler", "num_trials"), [("tpe", 14), ("nsga2", 20), ("gp", 7)])
def test_samplers_that_learn_take_over_after_the_start_without_a_warning(sampler, num_trials):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned, _ = rows(sampler=sampler, num_trials=num_trials, **SMALL_ONLY)
    random, _ = rows(sampler="random", num_trials=num_trials, **SMALL_ONLY)
    assert len(learned) == num_trials
    assert tried_of(learned)[:4] == tried_of(random)[:4]
    assert tried_of(learned)[-3:] != tried_of(random)[-3:]


@pytest.mark.parametrize(("sampler", "num_trials"), [("tpe", 16), ("nsga2", 16), ("gp", 8)])
def test_trials_after_the_start_are_the_samplers_own(sampler, num_trials):
    storage = InMemoryStorage()
    rows(storage=storage, sampler=sampler, num_trials=num_trials, **SMALL_ONLY)
    trials = [t for t in trials_of(storage, SMALL) if TRIAL_ID in t.user_attrs]
    own = [t for t in trials if "fixed_params" not in t.system_attrs]
    assert len(own) > 0.8 * len(trials)  # of those it gave up on, others take the place


def test_the_grid_covers_all_its_points_once_and_ends():
    grid = [SPACE.identity(params) for params in SPACE.points(GRID_STEPS)]
    budgets = (18_000_000, LARGE)
    launched, refused = rows(sampler="grid", num_trials=10**4, budgets=budgets)
    assert len(refused) > 64  # other samplers would be given up by now
    tried = tried_of(launched + refused)
    assert len(set(tried)) == len(tried)
    # what fits the small budget is measured for the large one too
    assert {identity for _, identity in tried} == set(grid)


def test_a_part_of_the_grid_is_spread_over_all_of_it():
    launched, _ = rows(sampler="grid", num_trials=16, budgets=(10**9,))
    for name in SPACE.distributions:
        assert len({SPACE.params(record)[name] for record in launched}) > 1
