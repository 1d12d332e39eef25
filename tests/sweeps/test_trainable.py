"""One trial as Tune sees it, called directly: results, records, checkpoints; no Ray started."""

import dataclasses
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.results.checkpoints import Checkpoints
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.stop import Stop
from sweeps.trainable import BudgetTrainable, WorkerSpent

TINY = TrialConfig(
    image_size=64,
    patch_size=32,
    sampling_rate=0.5,
    inner_iterations=1,
    backbone="test_resnet",
    aggregator="small_cnn",
    sample_num_images=12,
    epochs=2,
    device="cpu",
)


@pytest.fixture(autouse=True)
def keep_torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_trainable():
    made = []

    def make(config=TINY, trial_id="00000", checkpoint=None, run_dir=None):
        trainable = BudgetTrainable.__new__(BudgetTrainable)  # without Tune's log folders
        trainable._trial_info = None
        trainable._storage = run_dir and SimpleNamespace(storage_fs_path=str(run_dir / "tune"))
        trainable.setup(values(config, trial_id, checkpoint))
        made.append(trainable)
        return trainable

    yield make
    for trainable in made:
        trainable.cleanup()


class Placed:
    """A place on a cluster, as Tune tells it to a trainable."""

    def __init__(self, **reserved):
        self.trial_resources = SimpleNamespace(required_resources=reserved)


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize(("share", "device"), [({}, "cpu"), ({"GPU": 0.25}, "cuda")])
def test_a_trial_trains_on_the_device_it_has_a_place_on(asked, share, device):
    trainable = BudgetTrainable.__new__(BudgetTrainable)
    trainable._trial_info, trainable._storage = Placed(CPU=1, **share), None
    trainable.setup(values(dataclasses.replace(TINY, device=asked)))
    assert trainable._config.device == device


def test_a_worker_that_does_not_see_its_gpu_says_so_and_trains_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trainable = BudgetTrainable.__new__(BudgetTrainable)
    trainable._trial_info, trainable._storage = Placed(CPU=1, GPU=0.5), None
    trainable.setup(values(dataclasses.replace(TINY, device="auto")))
    result = trainable.step()
    record = record_in(result)
    assert result["done"] and record.status is TrialStatus.FAILED
    assert "has 0.5 of a GPU, but" in record.error and "--set device=cpu" in record.error
    assert record.epochs_done == 0


def values(config, trial_id="00000", checkpoint=None):
    named = {"trial_id": trial_id, "sweep": "test", "group": trial_id}
    return {**named, "config": config, "checkpoint": checkpoint}


def record_in(result):
    return TrialRecord.from_row(result[RECORD])


def test_a_step_is_an_epoch_and_the_last_is_done(make_trainable):
    trainable = make_trainable()
    first, second = trainable.step(), trainable.step()
    assert [first["done"], second["done"]] == [False, True]
    assert [first[EPOCH]["epoch"], second[EPOCH]["epoch"]] == [1, 2]
    assert record_in(first).status is TrialStatus.STOPPED_EARLY
    assert record_in(second).status is TrialStatus.COMPLETED
    assert second["metric"] == record_in(second).metric
    assert second["peak_allocated_bytes"] == record_in(second).peak_allocated_bytes > 0


def test_checkpoints_are_wanted_between_epochs_only(make_trainable):
    trainable = make_trainable()
    assert [trainable.step()["should_checkpoint"] for _ in range(2)] == [True, False]


def test_out_of_memory_is_a_result(make_trainable):
    result = make_trainable(dataclasses.replace(TINY, budget=1_000_000)).step()
    assert result[EPOCH] is None
    record = record_in(result)
    assert record.status is TrialStatus.OUT_OF_MEMORY
    assert record.peak_allocated_bytes > 1_000_000


def test_an_error_is_a_result_of_one_line(make_trainable):
    result = make_trainable(dataclasses.replace(TINY, data_dir="/no/such/folder")).step()
    assert result["done"]
    record = record_in(result)
    assert record.status is TrialStatus.FAILED
    assert "/no/such/folder" in record.error
    assert "\n" not in record.error


def test_a_trial_goes_on_from_its_checkpoint_as_if_never_stopped(make_trainable, tmp_path):
    whole = make_trainable()
    whole.step()
    (tmp_path / "checkpoint").mkdir()
    whole.save_checkpoint(str(tmp_path / "checkpoint"))
    expected = record_in(whole.step())
    resumed = make_trainable(checkpoint=str(tmp_path / "checkpoint"))
    result = resumed.step()
    assert result[EPOCH]["epoch"] == 2
    record = record_in(result)
    assert (record.metric, record.epochs_done) == (expected.metric, 2)
    assert record.peak_allocated_bytes == expected.peak_allocated_bytes


def test_a_checkpoint_out_of_reach_means_from_scratch(make_trainable, tmp_path):
    result = make_trainable(checkpoint=str(tmp_path / "on another node")).step()
    assert result[EPOCH]["epoch"] == 1


def test_a_trial_says_which_configuration_it_repeats(make_trainable):
    assert record_in(make_trainable().step()).group == "00000"


def test_tunes_own_restore_goes_on_too(make_trainable, tmp_path):
    first = make_trainable()
    first.step()
    first.save_checkpoint(str(tmp_path))
    second = make_trainable()
    second.load_checkpoint(str(tmp_path))
    assert second.step()[EPOCH]["epoch"] == 2


def test_a_reused_worker_starts_the_next_trial_afresh(make_trainable):
    trainable = make_trainable()
    trainable.step()
    assert trainable.reset_config(values(dataclasses.replace(TINY, seed=1), "00001"))
    reused = record_in(trainable.step())
    fresh = record_in(make_trainable(dataclasses.replace(TINY, seed=1), "00001").step())
    assert reused.trial_id == "00001"
    assert (reused.metric, reused.peak_allocated_bytes) == (
        fresh.metric,
        fresh.peak_allocated_bytes,
    )


def test_a_worker_is_not_used_again_after_it_ran_out_of_memory(make_trainable):
    trainable = make_trainable(dataclasses.replace(TINY, budget=1_000_000))
    result = trainable.step()
    assert record_in(result).status is TrialStatus.OUT_OF_MEMORY
    assert not result["done"]  # Tune would keep the worker of a trial that is done
    assert not result["should_checkpoint"]
    with pytest.raises(WorkerSpent):
        trainable.step()


def test_a_trial_of_a_sweep_that_ends_is_saved_within_its_epoch(
    make_trainable, tmp_path, monkeypatch
):
    straight = make_trainable()
    expected = [dict(straight.step()[EPOCH]) for _ in range(2)]
    monkeypatch.setattr("sweeps.trainable._LOOK_EVERY_S", 0.0)
    run_dir, results = tmp_path / "run", []
    run_dir.mkdir()
    stop = Stop(run_dir)
    first = make_trainable(run_dir=run_dir)
    look, num_batches = first._look, []

    def look_and_count(progress):
        num_batches.append(progress.batches_done)
        if len(num_batches) == 2:
            asking.start()
            while not stop.is_asked:
                time.sleep(0.01)
        look(progress)

    first._look = look_and_count
    asking = threading.Thread(target=lambda: results.append(stop.save(["00000"])))
    going_on = first.step()  # nobody kills it: once nothing is asked any more it goes on
    asking.join()
    assert results == [1] and not stop.is_asked

    found = Checkpoints(run_dir, run_dir / "tune", lambda write: write()).found()
    second = make_trainable(checkpoint=found["00000"], run_dir=run_dir)
    seen = []
    second._look = lambda progress: seen.append(progress.batches_done)
    epochs = [dict(second.step()[EPOCH]) for _ in range(2)]
    assert seen[0] == 3, "it went on after the second batch"
    for rows in (epochs, [dict(going_on[EPOCH])]):
        for row, straight_row in zip(rows, expected, strict=False):
            same = ("epoch", "train_loss", "metric", "peak_allocated_bytes", "learning_rate")
            assert [row[name] for name in same] == [straight_row[name] for name in same]
