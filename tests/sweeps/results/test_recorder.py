"""What becomes of Tune's reports: rows, then the search, once per trial; no Ray started."""

from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from patchtrain.config import TrialConfig
from patchtrain.errors import DataError
from patchtrain.record import TrialStatus, read_rows
from sweeps.errors import Unfinished
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.recorder import Recorder
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder

CONFIG = TrialConfig(budget=10**6, epochs=2)


class ToldInOrder:
    """A search that notes what it is told, and which rows were on disk then."""

    def __init__(self, folder):
        self.folder = folder
        self.told = []
        self.put_off_ids = []

    def put_off(self, record):
        self.put_off_ids.append(record.trial_id)

    def tell(self, record):
        rows = {row["trial_id"] for row in read_rows(self.folder.trials_path)}
        self.told.append((record.trial_id, record.status.value, record.trial_id in rows))


class FakeTrial(SimpleNamespace):
    """The parts of Tune's trial that are read."""

    def get_pickled_error(self):
        return self.error


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open({})
    yield folder
    folder.close()


@pytest.fixture
def search(folder):
    return ToldInOrder(folder)


@pytest.fixture
def recorder(folder, search):
    return Recorder(folder, search, lambda record: None)


def trial_of(trial_id="00000", error=None):
    config = {"trial_id": trial_id, "sweep": "test", "group": trial_id, "config": CONFIG}
    return FakeTrial(config=config, error=error, last_result={}, max_failures=1, num_failures=0)


def report(recorder, trial, status, epochs_done=0):
    row = unstarted_record(CONFIG, trial.config["trial_id"], "test", RuntimeError()).to_row()
    row |= {"status": status.value, "epochs_done": epochs_done, "error": None}
    trial.last_result = {RECORD: row, EPOCH: None}
    recorder.on_trial_result(0, [], trial, trial.last_result)


def test_the_row_is_written_before_the_search_is_told(recorder, search):
    report(recorder, trial_of(), TrialStatus.COMPLETED)
    assert search.told == [("00000", "completed", True)]


def test_a_trial_that_goes_on_has_no_row_yet(recorder, search, folder):
    report(recorder, trial_of(), TrialStatus.STOPPED_EARLY)
    assert search.told == []
    assert folder.records() == []


def test_a_trial_ends_once_though_tune_says_so_twice(recorder, search):
    trial = trial_of()
    report(recorder, trial, TrialStatus.COMPLETED)
    recorder.on_trial_complete(0, [], trial)
    assert len(search.told) == 1


def test_a_trial_that_a_scheduler_stops_keeps_its_row(recorder, search):
    trial = trial_of()
    report(recorder, trial, TrialStatus.STOPPED_EARLY, epochs_done=1)
    recorder.on_trial_complete(0, [], trial)
    assert search.told == [("00000", "stopped_early", True)]


def test_a_dead_worker_is_a_failed_row_with_what_was_reached(recorder, folder):
    trial = trial_of(error=RuntimeError("the worker\nwas killed"))
    report(recorder, trial, TrialStatus.STOPPED_EARLY, epochs_done=1)
    recorder.on_trial_error(0, [], trial)
    (record,) = folder.records()
    assert (record.status, record.epochs_done) == (TrialStatus.FAILED, 1)
    assert record.error == "RuntimeError: the worker was killed"


def test_a_worker_that_never_reported_is_a_failed_row_too(recorder, folder):
    recorder.on_trial_error(0, [], trial_of(error=None))
    (record,) = folder.records()
    assert (record.status, record.budget_bytes) == (TrialStatus.FAILED, 10**6)
    assert "no reason is known" in record.error


DIED = ActorDiedError()


def fail(recorder, trial_id, error):
    """Report a trial that ended with `error`, as the trainable does."""
    row = unstarted_record(CONFIG, trial_id, "test", error).to_row()
    trial = trial_of(trial_id)
    trial.last_result = {RECORD: row, EPOCH: None}
    recorder.on_trial_result(0, [], trial, trial.last_result)


def test_a_failure_of_the_configuration_is_told_to_the_search(recorder, search, folder):
    fail(recorder, "00000", ValueError("bad"))
    assert search.told == [("00000", "failed", True)]
    assert search.put_off_ids == folder.to_run_again() == []
    assert [r.trial_id for r in folder.to_run_again(retry_failed=True)] == ["00000"]
    assert folder.finished(retry_failed=True) == []


def test_a_failure_of_the_environment_is_put_off(recorder, search, folder):
    fail(recorder, "00000", DataError("/mnt/a.png: cannot be read"))
    assert search.told == []
    assert search.put_off_ids == ["00000"]
    assert [r.trial_id for r in folder.to_run_again()] == ["00000"]
    assert folder.finished() == []


def test_several_equal_failures_of_the_environment_in_a_row_stop_the_sweep(recorder, folder):
    for number in range(2):
        fail(recorder, f"0000{number}", DataError(f"/mnt/{number}.png: cannot be read"))
    report(recorder, trial_of("00002"), TrialStatus.COMPLETED)
    for number in range(3, 5):
        fail(recorder, f"0000{number}", DataError(f"/mnt/{number}.png: cannot be read"))
    fail(recorder, "00005", PermissionError(13, "Permission denied"))
    for number in range(6, 8):
        fail(recorder, f"0000{number}", DataError(f"/mnt/{number}.png: cannot be read"))
    with pytest.raises(Unfinished, match="3 trials in a row failed for the same reason"):
        fail(recorder, "00008", DataError("/mnt/8.png: cannot be read"))
    assert recorder.unfinished is not None
    assert len(folder.records()) == 9


def test_equal_failures_of_configurations_do_not_stop_the_sweep(recorder, search):
    for number in range(6):
        fail(recorder, f"0000{number}", ValueError("bad"))
    assert len(search.told) == 6


def test_a_worker_that_dies_at_two_starts_was_not_killed_from_outside(folder, search):
    Recorder(folder, search, print).on_trial_error(0, [], trial_of(error=DIED))
    assert search.put_off_ids == ["00000"]
    again = Recorder(folder, search, print)
    again.on_trial_start(0, [], trial_of())
    again.on_trial_error(0, [], trial_of(error=DIED))
    assert search.told == [("00000", "failed", True)]
    assert folder.records()[0].failed_by == "configuration"


def test_the_reason_that_ray_wrote_down_is_in_the_record(recorder, folder, tmp_path):
    trial = trial_of(error=None)
    trial.error_file = tmp_path / "error.txt"
    trial.error_file.write_text(
        "Failure # 1\nTraceback:\n  ray.A_Error: first\n\n"
        "ray.exceptions.ActorDiedError: The actor died.\n  Its node was preempted\n"
    )
    recorder.on_trial_error(0, [], trial)
    assert folder.records()[0].error == (
        "WorkerDied: ray.exceptions.ActorDiedError: The actor died. Its node was preempted"
    )


def test_the_checkpoint_of_a_trial_that_runs_again_stays(recorder, folder):
    for trial_id in ("00000", "00001"):
        saved = folder.tune_path / "0000" / trial_id / "checkpoint_000000"
        saved.mkdir(parents=True)
        folder.add_config(trial_id, CONFIG)
        folder.checkpoints.note(trial_id, str(saved))
    fail(recorder, "00000", DataError("/mnt/a.png: cannot be read"))
    fail(recorder, "00001", ValueError("bad"))
    assert list(folder.checkpoints.found()) == ["00000"]


def test_the_end_of_a_spent_worker_is_not_the_end_of_its_trial(recorder, search):
    trial = trial_of(error=RuntimeError("worker spent"))
    report(recorder, trial, TrialStatus.OUT_OF_MEMORY)
    assert trial.max_failures == 0  # Tune does not run it again
    recorder.on_trial_error(0, [], trial)
    assert search.told == [("00000", "out_of_memory", True)]


def test_a_trial_finished_before_a_restart_is_not_told_again(folder, search):
    folder.add_record(unstarted_record(CONFIG, "00000", "test", RuntimeError()))
    report(Recorder(folder, search, print), trial_of(), TrialStatus.COMPLETED)
    assert search.told == []


def test_a_trial_that_made_progress_may_lose_its_worker_again(recorder, tmp_path):
    trial = trial_of()
    trial.num_failures = 1
    recorder.on_checkpoint(0, [], trial, SimpleNamespace(path=str(tmp_path / "checkpoint_1")))
    assert trial.max_failures == 2
    report(recorder, trial, TrialStatus.COMPLETED)
    recorder.on_checkpoint(0, [], trial, SimpleNamespace(path=str(tmp_path / "checkpoint_2")))
    assert trial.max_failures == 0  # all is said
