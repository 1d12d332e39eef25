"""The search taken up where an earlier process was cut off."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_sweep import (
    LARGE,
    SMALL,
    SPACE,
    Refusals,
    make_search,
    points,
    predict,
    record_of,
    run_to_the_end,
    state_of,
    tried_of,
)
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from patchtrain.record import TrialStatus
from sweeps.results.journal import open_storage


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
    first._copy(record)  # killed between the copies and the trial's own study
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


def test_a_budget_that_was_added_catches_up_and_knows_the_earlier_trials(tmp_path):
    path, middle = tmp_path / "journal", (SMALL + LARGE) // 2
    records = run_to_the_end(make_search(open_storage(path), num_trials=4))
    more = make_search(
        open_storage(path), budgets=(SMALL, middle, LARGE), num_trials=7, finished=records
    )
    completed = [r for r in records if r.status is TrialStatus.COMPLETED]
    for record in completed:
        if record.peak_allocated_bytes <= middle:
            known = state_of(open_storage(path), middle, record.trial_id)
            assert known.state is TrialState.COMPLETE
    rest = run_to_the_end(more)
    assert [record.budget_bytes for record in rest] == [middle, middle, SMALL]
    assert len(set(tried_of(records + rest))) == 7


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


class Killed(Exception):
    pass


class KillableStorage(InMemoryStorage):
    """Keeps what was written before the process was killed, which is before one of its writes."""

    writes_left = math.inf


def _killable(name):
    def write(self, *arguments, **options):
        if self.writes_left <= 0:
            raise Killed
        self.writes_left -= 1
        return getattr(InMemoryStorage, name)(self, *arguments, **options)

    return write


for _name in (
    "create_new_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_trial_system_attr",
):
    setattr(KillableStorage, _name, _killable(_name))


@pytest.mark.filterwarnings("error")
@settings(max_examples=25, deadline=None)
@given(
    kills=st.lists(st.integers(min_value=0, max_value=90), max_size=3),
    sampler=st.sampled_from(["tpe", "grid"]),
    num_first=st.sampled_from([0, 3]),
)
def test_a_kill_at_any_write_loses_nothing_and_doubles_nothing(kills, sampler, num_first):
    storage, rows, first = KillableStorage(), [], points(num_first)

    def start(writes_left):
        storage.writes_left = math.inf
        refusals = Refusals(records=rows)
        search = make_search(
            storage,
            num_trials=6,
            sampler=sampler,
            first=first,
            finished=list(rows),
            predict=predict,
            refuse=refusals,
        )
        storage.writes_left = writes_left
        while (suggestion := search.ask()) is not None:
            rows.append(record_of(suggestion))
            search.tell(rows[-1])

    for writes_left in kills:
        with suppress(Killed):
            start(writes_left)
    start(math.inf)
    ids = [record.trial_id for record in rows]
    assert len(set(ids)) == len(ids)
    tried = tried_of(rows)
    assert len(set(tried)) == len(tried)
    # under one budget or both: what completed under one may count for the other
    assert {SPACE.identity(params) for params in first} <= {identity for _, identity in tried}
    launched = [r for r in rows if r.status is not TrialStatus.PREDICTED_INFEASIBLE]
    assert len(launched) == 6
    for record in rows:
        told = state_of(storage, record.budget_bytes, record.trial_id)
        assert told.state.is_finished()
        assert told.params == SPACE.params(record)


def test_a_first_point_that_was_cut_off_before_it_had_a_name_comes_first_again():
    storage, first = KillableStorage(), points(2)
    make_search(storage)
    for num_writes in range(20):
        search = make_search(storage, first=first)
        storage.writes_left = num_writes
        with suppress(Killed):
            search.ask()
            break
        storage.writes_left = math.inf
    else:
        pytest.fail("20 writes for one trial")
    assert num_writes > 3
    storage.writes_left = math.inf
    (cut_off,) = make_search(storage, first=first).cut_off
    assert SPACE.identity(cut_off.params) == SPACE.identity(first[0])


def test_a_refused_configuration_without_a_journal_is_not_tried_again():
    refusals = Refusals()
    settings = {"budgets": (SMALL,), "num_trials": 10, "predict": predict, "refuse": refusals}
    launched = run_to_the_end(make_search(**settings))
    before = list(refusals.records)
    again = run_to_the_end(make_search(**settings | {"num_trials": 15}, finished=launched + before))
    records = launched + again + refusals.records
    assert len(launched + again) == 15
    assert len({r.trial_id for r in records}) == len(set(tried_of(records))) == len(records)


def test_tune_is_told_when_all_trials_are_proposed():
    search = make_search(num_trials=1)
    config = search.suggest("tune's id")
    assert (config["trial_id"], config["sweep"]) == ("00000", "test")
    assert config["config"].budget == SMALL
    assert search.suggest("another") == Searcher.FINISHED


def test_a_trial_that_was_put_off_runs_again_under_its_own_id(tmp_path):
    search = make_search(open_storage(tmp_path / "journal"), num_trials=4)
    first, second = search.ask(), search.ask()
    failed = record_of(first, status=TrialStatus.FAILED, failed_by="environment")
    search.put_off(failed)
    search.tell(record_of(second, status=TrialStatus.COMPLETED, metric=0.5))
    finished = [record_of(second, status=TrialStatus.COMPLETED, metric=0.5)]
    again = make_search(
        open_storage(tmp_path / "journal"), num_trials=4, finished=finished, again=[failed]
    )
    assert again.cut_off == (first,)
    asked = [again.ask() for _ in range(3)]
    assert asked[0] == first
    assert [each.trial_id for each in asked] == ["00000", "00002", "00003"]
    assert again.ask() is None


def test_a_failure_that_was_told_runs_again_on_demand(tmp_path):
    search = make_search(open_storage(tmp_path / "journal"), num_trials=2)
    first = search.ask()
    failed = record_of(first, status=TrialStatus.FAILED, failed_by="configuration")
    search.tell(failed)
    again = make_search(open_storage(tmp_path / "journal"), num_trials=2, again=[failed])
    (retried,) = again.cut_off
    assert (retried.trial_id, retried.budget_bytes) == (first.trial_id, first.budget_bytes)
    assert dict(retried.params) == dict(first.params)
    assert again.ask() == retried
    again.tell(record_of(retried, status=TrialStatus.COMPLETED, metric=0.5))
    assert again.num_to_run == 1
