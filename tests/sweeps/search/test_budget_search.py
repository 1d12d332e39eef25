"""The search over a made-up memory law, without Ray: what it proposes and learns."""

import math
from dataclasses import replace

import pytest
from made_up_sweep import (
    LARGE,
    SMALL,
    SPACE,
    Predicted,
    Refusals,
    make_search,
    points,
    predict,
    record_of,
    run_to_the_end,
    state_of,
    trials_of,
    tried_of,
)
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import TrialStatus
from sweeps.results.journal import open_storage
from sweeps.search.patch_space import patch_space
from sweeps.search.samplers import SAMPLERS
from sweeps.search.study import COPIED, TRIAL_ID
from sweeps.search.verdict import CONSTRAINT, verdict


def test_trials_are_numbered_in_order_and_budgets_take_turns():
    search = make_search(num_trials=5)
    asked = [search.ask() for _ in range(5)]
    assert [s.trial_id for s in asked] == ["00000", "00001", "00002", "00003", "00004"]
    assert [s.budget_bytes for s in asked] == [SMALL, LARGE, SMALL, LARGE, SMALL]
    assert search.ask() is None


def test_a_finished_trial_is_told_with_metric_peak_and_constraint():
    storage = InMemoryStorage()
    search = make_search(storage)
    record = record_of(
        search.ask(), status=TrialStatus.COMPLETED, metric=0.5, peak_allocated_bytes=SMALL - 512
    )
    search.tell(record)
    told = state_of(storage, SMALL, "00000")
    assert told.state is TrialState.COMPLETE
    assert told.values == [0.5, SMALL - 512]
    assert told.constraints == {CONSTRAINT: -512.0}


def test_out_of_memory_is_pruned_with_its_violation_not_failed():
    storage = InMemoryStorage()
    search = make_search(storage)
    search.tell(
        record_of(
            search.ask(),
            status=TrialStatus.OUT_OF_MEMORY,
            metric=None,
            peak_allocated_bytes=SMALL + 2048,
        )
    )
    told = state_of(storage, SMALL, "00000")
    assert told.state is TrialState.PRUNED
    assert told.constraints == {CONSTRAINT: 2048.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"status": TrialStatus.FAILED},
        {"status": TrialStatus.COMPLETED, "metric": None},
        {"status": TrialStatus.COMPLETED, "metric": math.nan},
        {"status": TrialStatus.COMPLETED, "metric": 0.5, "peak_allocated_bytes": None},
    ],
)
def test_a_trial_without_metric_or_peak_fails_and_ends(changes):
    storage = InMemoryStorage()
    search = make_search(storage)
    search.tell(record_of(search.ask(), **changes))
    assert state_of(storage, SMALL, "00000").state is TrialState.FAIL
    assert state_of(storage, LARGE, "00000") is None


def test_a_finished_trial_counts_for_every_budget():
    storage = InMemoryStorage()
    search = make_search(storage)
    fits_both, fits_large = search.ask(), search.ask()
    done = {"status": TrialStatus.COMPLETED, "metric": 0.5}
    search.tell(record_of(fits_both, **done, peak_allocated_bytes=SMALL // 2))
    search.tell(record_of(fits_large, **done, peak_allocated_bytes=LARGE // 2))
    copy = state_of(storage, LARGE, fits_both.trial_id)
    assert copy.state is TrialState.COMPLETE
    assert copy.params == fits_both.params
    assert copy.user_attrs[COPIED]
    over = state_of(storage, SMALL, fits_large.trial_id)
    assert over.state is TrialState.PRUNED
    assert over.constraints == {CONSTRAINT: float(LARGE // 2 - SMALL)}


def test_out_of_memory_says_nothing_about_larger_budgets_and_no_about_smaller():
    search = make_search()
    search.ask()
    large = search.ask()
    record = record_of(
        large, status=TrialStatus.OUT_OF_MEMORY, metric=None, peak_allocated_bytes=LARGE + 512
    )
    assert verdict(record, 2 * LARGE) is None
    assert verdict(record, SMALL).violation_bytes == LARGE + 512 - SMALL


def test_out_of_memory_with_unknown_peak_still_violates():
    record = record_of(
        make_search().ask(),
        status=TrialStatus.OUT_OF_MEMORY,
        metric=None,
        peak_allocated_bytes=None,
    )
    assert verdict(record, SMALL).violation_bytes > 0


def test_memory_held_beyond_the_tensors_leaves_a_smaller_budget_open():
    search = make_search()
    search.ask()
    record = record_of(
        search.ask(),
        status=TrialStatus.COMPLETED,
        metric=0.5,
        peak_allocated_bytes=SMALL - 512,
        peak_reserved_bytes=SMALL + 512,
    )
    assert verdict(record, SMALL) is None
    assert verdict(record, LARGE).state is TrialState.COMPLETE


def test_no_configuration_is_tried_twice_under_one_budget():
    tried = tried_of(run_to_the_end(make_search(num_trials=80)))
    assert len(tried) == len(set(tried)) == 80


def test_trials_side_by_side_are_different_ones():
    refusals = Refusals()
    search = make_search(num_trials=40, predict=predict, refuse=refusals)
    asked = [search.ask() for _ in range(40)]
    assert search.ask() is None
    assert not search.is_done
    ids = [s.trial_id for s in asked] + [r.trial_id for r in refusals.records]
    assert len(set(ids)) == len(ids)
    tried = tried_of([*map(record_of, asked), *refusals.records])
    assert len(set(tried)) == len(tried)
    # one that runs under any budget says enough for all of them
    trained = [SPACE.identity(suggestion.params) for suggestion in asked]
    assert len(set(trained)) == len(trained)
    for suggestion in reversed(asked):
        search.tell(record_of(suggestion))
    assert search.is_done


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_ends_the_search(sampler):
    base = TrialConfig(image_size=256, patch_size=64)
    space = patch_space(base, fixed={"sampling_rate", "inner_iterations", "fusion"})
    search = make_search(space=space, budgets=(LARGE,), num_trials=6, sampler=sampler)
    sizes = [record.patch_size for record in run_to_the_end(search, space)]
    assert sorted(sizes) == sorted(space.choices("patch_size"))
    assert search.used_up == (LARGE,)


def num_late_over_budget(seed, sampler):
    search = make_search(budgets=(SMALL,), num_trials=60, seed=seed, sampler=sampler)
    late = run_to_the_end(search)[20:]
    return sum(record.status is TrialStatus.OUT_OF_MEMORY for record in late)


def test_the_search_learns_from_measured_overruns_to_stay_within_the_budget():
    learned = sum(num_late_over_budget(seed, "tpe") for seed in range(5))
    random = sum(num_late_over_budget(seed, "random") for seed in range(5))
    assert learned < 0.6 * random  # told as FAIL, it is 1.7 times random


# what is predicted not to fit


def test_what_cannot_fit_is_recorded_then_told_and_replaced_at_once():
    storage, refusals, heard = InMemoryStorage(), Refusals(), []

    def refuse(suggestion, prediction):
        heard.append(state_of(storage, SMALL, suggestion.trial_id))
        return refusals(suggestion, prediction)

    search = make_search(storage, budgets=(SMALL,), num_trials=10, predict=predict, refuse=refuse)
    launched = run_to_the_end(search)
    assert {record.status for record in launched} == {TrialStatus.COMPLETED}
    assert len(launched) == 10  # those refused do not count
    assert len(refusals.records) > 0
    assert heard == [None] * len(refusals.records)
    for record in refusals.records:
        told = state_of(storage, SMALL, record.trial_id)
        assert told.state is TrialState.PRUNED
        assert told.constraints == {CONSTRAINT: float(record.predicted_peak_bytes - SMALL)}
        assert told.params == SPACE.params(record)
    ids = sorted(record.trial_id for record in launched + refusals.records)
    assert ids == [f"{number:05d}" for number in range(len(ids))]


def test_a_refusal_counts_for_smaller_budgets_only():
    storage = InMemoryStorage()
    refusals = Refusals()
    budgets = (SMALL, SMALL + 20_000_000)
    search = make_search(storage, budgets=budgets, num_trials=20, predict=predict, refuse=refusals)
    run_to_the_end(search)
    assert {record.budget_bytes for record in refusals.records} == set(budgets)
    for record in refusals.records:
        small, large = (state_of(storage, budget, record.trial_id) for budget in budgets)
        assert small.state is TrialState.PRUNED
        assert (large is None) == (record.budget_bytes == SMALL)


def test_networks_that_cannot_be_trained_are_recorded_and_not_launched():
    def only_large_patches(config):
        if config.patch_size < 64:
            raise ConfigError("patches too\nsmall")
        return Predicted(1)

    refusals = Refusals()
    search = make_search(num_trials=12, predict=only_large_patches, refuse=refusals)
    assert min(record.patch_size for record in run_to_the_end(search)) >= 64
    assert refusals.records
    for record in refusals.records:
        assert record.status is TrialStatus.PREDICTED_INFEASIBLE
        assert record.error == "not launched: patches too small"
        assert record.predicted_peak_bytes is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_in_which_nothing_fits_ends(sampler):
    refusals = Refusals()
    search = make_search(
        num_trials=10, sampler=sampler, predict=lambda _: Predicted(10**12), refuse=refusals
    )
    assert search.ask() is None
    assert search.used_up == (SMALL, LARGE)
    assert search.is_done
    tried = tried_of(refusals.records)
    assert len(set(tried)) == len(tried) < 600  # of some thousands that there are
    assert search.ask() is None
    assert len(refusals.records) == len(tried)


RATES = {"sampling_rate": (0.5, 0.2, 0.05)}
"""The most memory first."""


@pytest.mark.parametrize("varied", [None, RATES])
def test_the_only_configuration_that_fits_is_found_once(varied):
    space = patch_space(SPACE.base, varied=varied)
    wanted = {"patch_size": 64, "inner_iterations": 7, "fusion": "concat", "sampling_rate": 0.05}

    def one_fits(config):
        is_wanted = space.config(wanted) == space.config(
            {name: getattr(config, name) for name in wanted} | {"sampling_rate": 0.05}
        )
        return Predicted(config.num_sampled if is_wanted else LARGE + 1)

    refusals = Refusals(space)
    budget = space.config(wanted).num_sampled
    search = make_search(
        space=space, budgets=(budget,), num_trials=5, predict=one_fits, refuse=refusals
    )
    launched = run_to_the_end(search, space)
    assert tried_of(launched, space) == [(budget, space.identity(wanted))]
    assert search.used_up == (budget,)
    tried = tried_of(launched + refusals.records, space)
    assert len(set(tried)) == len(tried)


# first points


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_first_points_are_tried_before_others_and_once(sampler):
    first, refusals = points(6), Refusals()
    search = make_search(
        num_trials=20, sampler=sampler, first=first, predict=predict, refuse=refusals
    )
    asked = [search.ask() for _ in range(20)]
    records = sorted([*map(record_of, asked), *refusals.records], key=lambda r: r.trial_id)
    trained = [identity for _, identity in tried_of(records)]
    expected = [SPACE.identity(params) for params in first]
    assert trained[:6] == expected
    assert not set(trained[6:]) & set(expected)


def test_a_first_point_that_failed_under_one_budget_is_tried_under_the_next():
    first = points(1)
    search = make_search(num_trials=4, first=first)
    failed = search.ask()
    other = search.ask()
    assert SPACE.identity(other.params) != SPACE.identity(failed.params)
    search.tell(replace(record_of(failed), status=TrialStatus.FAILED, metric=None))
    search.tell(record_of(other))
    again = [search.ask() for _ in range(2)]
    assert [s.params for s in again if s.budget_bytes != failed.budget_bytes] == first


def test_first_points_that_are_known_are_not_run_again():
    first = points(8)
    known = run_to_the_end(make_search(first=first, budgets=(SMALL,), num_trials=8))
    same = [{**params, "sampling_rate": params["sampling_rate"] + 1e-6} for params in first]
    again = run_to_the_end(make_search(first=same, known=renamed(known), num_trials=6))
    assert not set(tried_of(again)) & set(tried_of(known))


def renamed(records):
    return [replace(r, trial_id=f"before/{r.trial_id}", group=None) for r in records]


# other sweeps' trials


def test_known_trials_teach_every_budget_that_they_say_something_about():
    storage = InMemoryStorage()
    known = renamed(run_to_the_end(make_search(budgets=(LARGE,), num_trials=10)))
    search = make_search(storage, num_trials=4, known=known)
    assert search.num_to_run == 4
    for record in known:
        large, small = (state_of(storage, budget, record.trial_id) for budget in (LARGE, SMALL))
        completed = record.status is TrialStatus.COMPLETED
        assert large.state is (TrialState.COMPLETE if completed else TrialState.PRUNED)
        fits = record.peak_allocated_bytes <= SMALL
        assert small.state is (TrialState.COMPLETE if fits else TrialState.PRUNED)
    launched = run_to_the_end(search)
    assert [r.trial_id for r in launched] == [f"{number:05d}" for number in range(4)]


def test_known_trials_are_neither_run_nor_told_again_on_resume(tmp_path):
    known = renamed(run_to_the_end(make_search(num_trials=30, seed=1)))
    records = []
    for num_trials in (5, 10):
        search = make_search(
            open_storage(tmp_path / "journal"),
            num_trials=num_trials,
            finished=records,
            known=known,
        )
        records += run_to_the_end(search)
    assert len(records) == 10
    tried = tried_of(records + known)
    assert len(set(tried)) == len(tried)
    told = trials_of(open_storage(tmp_path / "journal"), LARGE)
    ids = [t.user_attrs[TRIAL_ID] for t in told if TRIAL_ID in t.user_attrs]
    assert len(set(ids)) == len(ids)
