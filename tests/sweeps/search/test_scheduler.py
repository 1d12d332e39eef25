"""Who goes on at a rung: successive halving within a budget."""

import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from patchtrain.config import TrialConfig
from sweeps.search.scheduler import Halving, Reached, make_scheduler, rungs

MB = 10**6


def reached(trial_id, metric, peak_mb=50, *, epoch=1, budget_mb=100):
    return Reached(str(trial_id), budget_mb * MB, epoch, metric, peak_mb * MB)


@pytest.mark.parametrize(
    ("max_epochs", "expected"),
    [(1, ()), (2, (1,)), (3, (1,)), (5, (1, 2)), (9, (1, 3)), (100, (4, 11, 33))],
)
def test_rungs_are_thirds_of_the_epochs(max_epochs, expected):
    assert rungs(max_epochs) == expected


def test_a_trial_goes_on_if_it_is_among_the_best_third_so_far():
    halving = Halving(3, by_peak=False)
    verdicts = [halving.goes_on(reached(i, metric)) for i, metric in enumerate((5, 4, 6, 5.5, 3))]
    #        first; behind; best of 3; 2nd of 4, where 2 go on; last of 5
    assert verdicts == [True, False, True, True, False]


def test_between_rungs_and_after_the_last_every_trial_goes_on():
    halving = Halving(9, by_peak=False)
    assert halving.goes_on(reached("a", 0.9))
    assert all(halving.goes_on(reached("b", 0.1, epoch=epoch)) for epoch in (2, 4, 8, 9))
    assert not halving.goes_on(reached("b", 0.1, epoch=1))


def test_a_rung_keeps_the_share_that_it_should():
    rng = random.Random(0)
    halving = Halving(3, by_peak=True)
    kept = sum(halving.goes_on(reached(i, rng.random(), rng.random())) for i in range(600))
    # early trials are among the best so far more often than they will be in the end
    assert 200 <= kept <= 260


def test_trials_of_different_budgets_are_not_compared():
    halving = Halving(3, by_peak=False)
    assert halving.goes_on(reached("a", 0.9, budget_mb=200))
    assert halving.goes_on(reached("b", 0.1, budget_mb=100))


def test_with_two_objectives_a_small_peak_is_worth_going_on():
    for by_peak, verdict in ((True, True), (False, False)):
        halving = Halving(3, by_peak=by_peak)
        for i in range(6):
            halving.goes_on(reached(i, 0.8, 90))
        assert halving.goes_on(reached("small", 0.5, 10)) is verdict


def test_with_two_objectives_a_dominated_trial_is_stopped():
    halving = Halving(3, by_peak=True)
    assert halving.goes_on(reached("a", 0.8, 50))
    assert not halving.goes_on(reached("b", 0.7, 60))


@pytest.mark.parametrize("metric", [None, float("nan")])
def test_an_unknown_metric_ranks_behind_all_others(metric):
    halving = Halving(3, by_peak=True)
    assert halving.goes_on(reached("a", 0.1))
    assert not halving.goes_on(reached("b", metric, 1))
    assert halving.goes_on(reached("c", 0.2))


def test_an_earlier_start_counts_and_a_repeated_epoch_counts_once():
    earlier = [reached(i, metric) for i, metric in enumerate((0.9, 0.8, 0.7))]
    assert not Halving(3, by_peak=False, earlier=earlier).goes_on(reached("new", 0.75))
    halving = Halving(3, by_peak=False, earlier=earlier)
    for _ in range(5):
        assert halving.goes_on(reached(0, 0.9))
    assert not halving.goes_on(reached("new", 0.75))  # third of 4; of 8 it would go on


def result_of(metric, peak, **changes):
    return {
        "metric": metric,
        "peak_allocated_bytes": peak,
        "training_iteration": 1,
        "should_checkpoint": True,
    } | changes


def trial_of(trial_id):
    return SimpleNamespace(
        config={"trial_id": trial_id, "config": TrialConfig(budget=100 * MB, epochs=3)}
    )


def test_tune_is_told_to_stop_a_trial_only_after_a_whole_epoch():
    scheduler = make_scheduler("mo-asha", 3)
    assert scheduler is not None
    told = scheduler.on_trial_result
    assert told(None, trial_of("a"), result_of(0.8, 50 * MB)) == TrialScheduler.CONTINUE
    assert told(None, trial_of("b"), result_of(0.7, 60 * MB)) == TrialScheduler.STOP
    out_of_memory = result_of(None, 100 * MB, should_checkpoint=False)
    assert told(None, trial_of("c"), out_of_memory) == TrialScheduler.CONTINUE


def test_without_a_scheduler_tune_uses_its_own():
    assert make_scheduler("none", 100) is None
