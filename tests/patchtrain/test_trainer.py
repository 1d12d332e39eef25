"""A whole trial on generated slides: records, determinism, resuming, ends of all kinds."""

from __future__ import annotations

import gc
import json
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from conftest import tiny, tiny_masks

from patchtrain.epoch import Progress
from patchtrain.errors import ConfigError, DataError
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.record import TrialStatus
from patchtrain.trainer import Trainer
from patchtrain.trial_checks import check


def run(trainer: Trainer) -> list:
    return [trainer.run_epoch() for _ in range(trainer.config.epochs - trainer.epochs_done)]


@pytest.fixture(scope="module")
def finished() -> tuple[Trainer, list]:
    trainer = Trainer(tiny(), trial_id="t1", sweep="s")
    return trainer, run(trainer)


def test_epochs_are_recorded_in_order(finished):
    trainer, epochs = finished
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert trainer.finished
    for epoch in epochs:
        assert epoch.metric == epoch.metrics["accuracy"]
        assert set(epoch.metrics) == {"accuracy", "kappa", "macro_f1"}
        assert epoch.peak_allocated_bytes > 0
        assert epoch.images_per_s > 0
    assert epochs[0].learning_rate > epochs[1].learning_rate > 0


def test_the_record_says_what_was_run_and_reached(finished):
    trainer, epochs = finished
    record = trainer.record()
    assert record.status is TrialStatus.COMPLETED
    assert (record.trial_id, record.sweep, record.epochs_done) == ("t1", "s", 2)
    assert record.metric == epochs[-1].metric
    assert record.data_is_sample
    assert record.peak_allocated_bytes == max(e.peak_allocated_bytes for e in epochs)
    assert record.num_sampled == 3
    assert record.num_train_images + record.num_val_images == 24
    assert record.num_parameters == sum(p.numel() for p in trainer.engine.network.parameters())
    assert record.started_at < record.finished_at
    assert "torch" in json.loads(record.versions)
    assert record.error is None
    assert record.cap_level == "none"
    parts = ("parameters", "gradients", "optimizer", "activations", "latent", "input")
    assert sum(getattr(record, f"peak_{name}_bytes") for name in parts) == (
        record.peak_allocated_bytes
    )


def test_the_timeline_reaches_the_peak_of_the_first_batches(finished):
    trainer, epochs = finished
    highest = max(sum(point.live_bytes) for point in trainer.timeline)
    assert highest == epochs[0].peak_allocated_bytes
    assert {"fill", "inner_iteration", "optimizer", "validation"} <= {
        point.phase for point in trainer.timeline
    }


def test_a_second_run_is_equal(finished):
    _, epochs = finished
    again = run(Trainer(tiny(), trial_id="t1"))
    for one, other in zip(epochs, again, strict=True):
        assert (one.train_loss, one.metrics, one.peak_allocated_bytes) == (
            other.train_loss,
            other.metrics,
            other.peak_allocated_bytes,
        )


def test_processes_that_read_ahead_change_nothing(finished):
    _, epochs = finished
    again = run(Trainer(tiny(num_workers=2)))
    assert [e.train_loss for e in again] == [e.train_loss for e in epochs]
    assert [e.peak_allocated_bytes for e in again] == [e.peak_allocated_bytes for e in epochs]


def test_a_resumed_trial_ends_like_the_uninterrupted_one(finished, tmp_path):
    trainer, epochs = finished
    first = Trainer(tiny())
    first.run_epoch()
    first.save(tmp_path / "checkpoint")
    first.close()
    second = Trainer(tiny())
    second.load(tmp_path / "checkpoint")
    (epoch,) = run(second)
    assert epoch.train_loss == epochs[1].train_loss
    assert epoch.peak_allocated_bytes == epochs[1].peak_allocated_bytes
    straight = trainer.engine.network.state_dict()
    for name, value in second.engine.network.state_dict().items():
        assert torch.equal(value, straight[name])
    assert second.record().peak_allocated_bytes == trainer.record().peak_allocated_bytes


def test_a_resumed_trial_is_augmented_like_the_uninterrupted_one(tmp_path):
    settings = {"dataset": "drive", "data_dir": None, "num_classes": None, "sample_num_images": 6}
    config = tiny_masks(**settings, augment="flip,rotate,colour", epochs=2)
    straight = run(Trainer(config))
    first = Trainer(config)
    first.run_epoch()
    first.save(tmp_path / "checkpoint")
    first.close()
    second = Trainer(config)
    second.load(tmp_path / "checkpoint")
    (epoch,) = run(second)
    assert epoch.train_loss == straight[1].train_loss
    plain = run(Trainer(tiny_masks(**settings, epochs=2)))
    assert plain[1].train_loss != straight[1].train_loss  # the augmentation does something


def test_another_configuration_is_not_resumed(finished, tmp_path):
    trainer, _ = finished
    trainer.save(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match=r"learning_rate=0\.5 differs from 0\.001"):
        Trainer(tiny(learning_rate=0.5)).load(tmp_path / "checkpoint")


def test_saved_weights_predict_the_recorded_metric(finished, tmp_path):
    trainer, epochs = finished
    trainer.save(tmp_path / "checkpoint")
    other = Trainer(tiny(seed=9))
    other.load_weights(tmp_path / "checkpoint")
    seen = []
    metrics = other.predict(trainer.data.val, lambda *batch: seen.append(batch))
    assert metrics == epochs[-1].metrics
    assert [example for examples, *_ in seen for example in examples] == list(trainer.data.val)
    assert sum(len(outputs) for *_, outputs in seen) == len(trainer.data.val)
    assert seen[0][2].shape[1] == 6


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_named(finished, tmp_path, name):
    trainer, _ = finished
    trainer.save(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=f"{name}: damaged"):
        Trainer(tiny()).load(tmp_path / "checkpoint")


def test_the_older_checkpoint_is_used_if_a_write_was_interrupted(finished, tmp_path):
    trainer, _ = finished
    trainer.save(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    resumed = Trainer(tiny())
    resumed.load(tmp_path / "checkpoint")
    assert resumed.epochs_done == 2


def test_out_of_memory_is_a_record_with_its_reason():
    trainer = Trainer(tiny(budget=20_000_000))
    with pytest.raises(BudgetExceeded) as caught:
        trainer.run_epoch()
    record = trainer.record(caught.value)
    assert record.status is TrialStatus.OUT_OF_MEMORY
    assert record.metric is None
    assert record.epochs_done == 0
    assert record.peak_allocated_bytes > record.budget_bytes == 20_000_000
    assert record.error.startswith("out of memory in ")
    assert record.peak_phase in record.error


def test_out_of_memory_while_building_is_a_record_too():
    trainer = Trainer(tiny(budget=1000))
    with pytest.raises(BudgetExceeded) as caught:
        trainer.run_epoch()
    record = trainer.record(caught.value)
    assert record.status is TrialStatus.OUT_OF_MEMORY
    assert record.peak_phase == "setup"
    assert record.peak_allocated_bytes > 1000


def test_a_trial_cut_short_says_so():
    trainer = Trainer(tiny(inner_iterations=1))
    trainer.run_epoch()
    assert trainer.record().status is TrialStatus.STOPPED_EARLY
    assert trainer.record(RuntimeError("boom")).status is TrialStatus.FAILED
    assert trainer.record(RuntimeError("boom\nbang")).error == "RuntimeError: boom bang"


def test_a_diverging_trial_fails_in_one_line():
    trainer = Trainer(tiny(learning_rate=1e30, epochs=1, norm="group"))
    with pytest.raises(RuntimeError) as caught:
        trainer.run_epoch()
    record = trainer.record(caught.value)
    assert record.status is TrialStatus.FAILED
    assert "lower learning_rate" in record.error
    assert "\n" not in record.error


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_closed_trainer_leaves_nothing_of_its_network(ends_well):
    trainer = Trainer(tiny(epochs=1, budget=None if ends_well else 6_000_000), trial_id="a")
    with nullcontext() if ends_well else pytest.raises(BudgetExceeded):
        trainer.run_epoch()
    engine = trainer._engine
    parameters = [] if engine is None else [*engine.network.parameters()]
    assert parameters or not ends_well
    seen = [weakref.ref(parameter) for parameter in parameters]
    trainer.close()
    del engine, parameters, trainer
    gc.collect()
    assert not any(reference() is not None for reference in seen)


def test_progress_is_reported_after_each_batch():
    seen: list[Progress] = []
    trainer = Trainer(tiny(epochs=1, batch_size=8))
    trainer.run_epoch(seen.append)
    training = [p for p in seen if not p.validating]
    assert [p.batches_done for p in training] == list(range(1, training[0].num_batches + 1))
    assert all(np.isfinite(p.loss) for p in training)
    assert seen[-1].validating
    assert seen[-1].loss is None
    assert seen[-1].peak_bytes >= seen[-1].live_bytes > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu"}, "device='tpu' is not supported"),
        ({"device": "cuda:99"}, "device='cuda:99' is not there"),
        ({"device": "cuda:256"}, "device='cuda:256': torch numbers no more than 128 GPUs"),
        ({"device": "cuda:-1"}, "device='cuda:-1' is not supported"),
        ({"backbone": "nope"}, "backbone='nope' is not a network"),
    ],
)
def test_check_refuses_before_any_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        check(tiny(**changes))
