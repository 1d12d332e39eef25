"""The search over a made-up memory law, without Ray: what it proposes, learns and takes up."""

import math

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.journal import open_storage
from sweeps.samplers import SAMPLERS
from sweeps.search import CONSTRAINT, COPIED, TRIAL_ID, BudgetSearch
from sweeps.spaces import patch_space
from sweeps.verdict import verdict

SMALL, LARGE = 40_000_000, 120_000_000
SPACE = patch_space(TrialConfig(image_size=512, patch_size=128))


def make_search(storage=None, *, space=SPACE, budgets=(SMALL, LARGE), num_trials=12, **settings):
    return BudgetSearch(
        space,
        budgets,
        num_trials=num_trials,
        sweep="test",
        storage=storage or InMemoryStorage(),
        **settings,
    )


def needed_bytes(config):
    """A made-up law: sampled pixels count."""
    return 10_000_000 + config.num_sampled * config.patch_size**2 * 600


def record_of(suggestion, *, space=SPACE, **changes):
    config = space.config(suggestion.params, suggestion.budget_bytes)
    needed = needed_bytes(config)
    fits = needed <= suggestion.budget_bytes
    values = {
        "status": TrialStatus.COMPLETED if fits else TrialStatus.OUT_OF_MEMORY,
        "peak_allocated_bytes": needed,
        "metric": config.num_sampled / config.num_patches if fits else None,
    }
    names = ("task", "dataset", "method", "image_size", "patch_size", "sampling_rate")
    names += ("num_sampled", "inner_iterations", "fusion", "backbone", "aggregator", "norm")
    names += ("precision", "batch_size", "accumulation_steps", "learning_rate", "patch_microbatch")
    names += ("epochs", "seed", "device")
    return TrialRecord(
        **{name: getattr(config, name) for name in names},
        **(values | changes),
        trial_id=suggestion.trial_id,
        sweep="test",
        data_is_sample=True,
        budget_bytes=config.budget,
        metric_name="accuracy",
    )


def run_to_the_end(search):
    records = []
    while (suggestion := search.ask()) is not None:
        records.append(record_of(suggestion))
        search.tell(records[-1])
    return records


def trials_of(storage, budget):
    return optuna.load_study(study_name=f"test-{budget}", storage=storage).trials


def state_of(storage, budget, trial_id):
    found = [t for t in trials_of(storage, budget) if t.user_attrs.get(TRIAL_ID) == trial_id]
    assert len(found) <= 1
    return found[0] if found else None


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
    search = make_search(num_trials=80)
    records = run_to_the_end(search)
    tried = [
        (r.budget_bytes, r.patch_size, r.num_sampled, r.inner_iterations, r.fusion) for r in records
    ]
    assert len(tried) == 80
    assert len(set(tried)) == 80


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_used_up_ends_the_search(sampler):
    base = TrialConfig(image_size=256, patch_size=64)
    space = patch_space(base, fixed={"sampling_rate", "inner_iterations", "fusion"})
    search = make_search(space=space, budgets=(LARGE,), num_trials=6, sampler=sampler)
    sizes = []
    while (suggestion := search.ask()) is not None:
        sizes.append(suggestion.params["patch_size"])
        search.tell(record_of(suggestion, space=space))
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


def test_equal_seeds_propose_equal_trials():
    one, two = (run_to_the_end(make_search(seed=3)) for _ in range(2))
    other = run_to_the_end(make_search(seed=4))
    assert [r.to_row() for r in one] == [r.to_row() for r in two]
    assert [r.sampling_rate for r in one] != [r.sampling_rate for r in other]


# taking up where an earlier process was cut off


def test_finished_trials_are_not_run_again(tmp_path):
    first = make_search(open_storage(tmp_path / "journal"), num_trials=12)
    records = []
    for _ in range(5):
        records.append(record_of(first.ask()))
        first.tell(records[-1])
    second = make_search(open_storage(tmp_path / "journal"), num_trials=12, finished=records)
    assert second.num_to_run == 7
    rest = run_to_the_end(second)
    assert [r.trial_id for r in records + rest] == [f"{i:05d}" for i in range(12)]


def test_a_trial_that_was_cut_off_comes_first_with_its_number_and_parameters(tmp_path):
    first = make_search(open_storage(tmp_path / "journal"))
    done, cut_off = first.ask(), [first.ask(), first.ask()]
    record = record_of(done)
    first.tell(record)
    second = make_search(
        open_storage(tmp_path / "journal"),
        finished=[record],
        checkpoints={cut_off[1].trial_id: "/some/folder"},
    )
    assert len(second.cut_off) == 2
    configs = [second.suggest("tune's id") for _ in range(3)]
    assert [c["trial_id"] for c in configs] == ["00001", "00002", "00003"]
    assert [c["checkpoint"] for c in configs] == [None, "/some/folder", None]
    for suggestion, config in zip(cut_off, configs, strict=False):
        assert config["config"] == SPACE.config(suggestion.params, suggestion.budget_bytes)
    second.tell(record_of(cut_off[0]))
    storage = open_storage(tmp_path / "journal")
    assert state_of(storage, cut_off[0].budget_bytes, "00001").state.is_finished()


def test_a_row_that_was_written_but_not_told_is_told_on_resume(tmp_path):
    first = make_search(open_storage(tmp_path / "journal"))
    record = record_of(first.ask())  # the row is there, and the process dies before `tell`
    second = make_search(open_storage(tmp_path / "journal"), finished=[record])
    assert not second.cut_off
    assert second.num_to_run == 11
    storage = open_storage(tmp_path / "journal")
    assert state_of(storage, SMALL, "00000").state.is_finished()
    assert second.ask().trial_id == "00001"


def test_resume_completes_copies_that_a_crash_left_out_and_doubles_none(tmp_path):
    first = make_search(open_storage(tmp_path / "journal"))
    record = record_of(
        first.ask(), status=TrialStatus.COMPLETED, metric=0.5, peak_allocated_bytes=SMALL // 2
    )
    first._spread(record)  # killed between the copies and the trial's own study
    for _ in range(2):
        make_search(open_storage(tmp_path / "journal"), finished=[record])
    storage = open_storage(tmp_path / "journal")
    for budget in (SMALL, LARGE):
        assert state_of(storage, budget, "00000").state is TrialState.COMPLETE


def test_rows_without_a_journal_keep_their_numbers_and_teach(tmp_path):
    records = [record_of(s) for s in (make_search().ask(), make_search(seed=1).ask())][:1]
    search = make_search(open_storage(tmp_path / "new"), finished=records, num_trials=3)
    assert search.ask().trial_id == "00001"
    assert state_of(open_storage(tmp_path / "new"), SMALL, "00000").state.is_finished()


def test_more_trials_may_be_asked_for_on_resume(tmp_path):
    records = run_to_the_end(make_search(open_storage(tmp_path / "journal"), num_trials=4))
    again = make_search(open_storage(tmp_path / "journal"), num_trials=4, finished=records)
    assert again.ask() is None
    more = make_search(open_storage(tmp_path / "journal"), num_trials=6, finished=records)
    assert [r.trial_id for r in run_to_the_end(more)] == ["00004", "00005"]


def test_resume_does_not_roll_the_same_dice_again(tmp_path):
    first = make_search(open_storage(tmp_path / "journal"), num_trials=40)
    records = []
    for _ in range(4):
        records.append(record_of(first.ask()))
        first.tell(records[-1])
    second = make_search(open_storage(tmp_path / "journal"), num_trials=40, finished=records)
    fresh = [second.ask().params["sampling_rate"] for _ in range(4)]
    assert not set(fresh) & {r.sampling_rate for r in records}


def test_a_journal_torn_by_a_kill_is_repaired(tmp_path):
    path = tmp_path / "journal"
    search = make_search(open_storage(path))
    asked = search.ask()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "work')
    (tmp_path / "journal.lock").symlink_to(path)  # its lock was held
    again = make_search(open_storage(path))
    assert path.read_bytes().startswith(whole)
    assert again.ask() == asked


def test_tune_is_told_when_all_trials_are_proposed():
    search = make_search(num_trials=1)
    config = search.suggest("tune's id")
    assert (config["trial_id"], config["sweep"]) == ("00000", "test")
    assert config["config"].budget == SMALL
    assert search.suggest("another") == Searcher.FINISHED
