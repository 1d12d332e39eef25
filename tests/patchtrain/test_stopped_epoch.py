"""A trial that is stopped between two batches of an epoch, saved, and gone on with elsewhere."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from conftest import tiny, tiny_boxes, tiny_masks

from patchtrain.config import TrialConfig
from patchtrain.epoch import Progress
from patchtrain.interrupt import Stopped
from patchtrain.record import EpochRecord
from patchtrain.trainer import Trainer

MASKS = tiny_masks(
    dataset="drive",
    data_dir=None,
    num_classes=None,
    sample_num_images=8,
    augment="flip,rotate,colour",
    epochs=2,
)
TRIALS = {
    "local_global": tiny(global_pass="joint"),
    "filled": tiny(global_pass="filled", batch_size=3),
    # gradients of 2 inner iterations wait for those of the next batch
    "accumulated": tiny(accumulation_steps=3, batch_size=3),
    # the last group of gradients is incomplete: after a stop its step comes before any loss
    "fp16": tiny(method="downsampled", precision="fp16", accumulation_steps=3, batch_size=4),
    "masks": MASKS,
    "boxes": tiny_boxes(
        dataset="coco_mosaic", data_dir=None, num_classes=None, sample_num_images=8, epochs=2
    ),
}


class StopsAfter:
    """Stops the `number`-th epoch part after so many batches, those of validation included."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, progress: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped(signal.SIGTERM)


def _run(config: TrialConfig, stops: list[int], folder) -> tuple[Trainer, list[EpochRecord]]:
    """Run a trial that is stopped after these numbers of batches, each time in a new process."""
    epochs = []
    trainer = Trainer(config)
    for index, stop in enumerate(stops):
        stopper = StopsAfter(stop)
        with pytest.raises(Stopped):
            while not trainer.finished:
                epochs.append(trainer.run_epoch(stopper))
        trainer.save(folder / str(index))
        trainer.close()
        trainer = Trainer(config)
        trainer.load(folder / str(index))
    while not trainer.finished:
        epochs.append(trainer.run_epoch())
    return trainer, epochs


_TIMES = {"train_time_s": 0.0, "validation_time_s": 0.0, "images_per_s": 0.0}


@pytest.mark.parametrize("name", TRIALS)
def test_it_ends_like_the_uninterrupted_trial(name, tmp_path):
    config = TRIALS[name]
    straight, expected = _run(config, [], tmp_path)
    num_trained, num_validated = (
        -(-len(images) // config.batch_size) for images in (straight.data.train, straight.data.val)
    )
    # in the first epoch, in its validation, in the second epoch, at the end of its training
    stops = [1, num_trained, num_validated + 1, num_trained - 1]
    stopped, epochs = _run(config, stops, tmp_path)
    assert [replace(e, **_TIMES) for e in epochs] == [replace(e, **_TIMES) for e in expected]
    assert all(epoch.train_time_s > 0 for epoch in epochs)
    weights = straight.engine.network.state_dict()
    for key, value in stopped.engine.network.state_dict().items():
        assert torch.equal(value, weights[key]), key
    ours, theirs = stopped.record(), straight.record()
    assert ours.peak_allocated_bytes == theirs.peak_allocated_bytes
    assert (ours.metrics, ours.peak_phase) == (theirs.metrics, theirs.peak_phase)
    assert stopped.batches_done == 0


def test_the_same_trainer_goes_on_too(tmp_path):
    config = tiny()
    _, expected = _run(config, [], tmp_path)
    trainer = Trainer(config)
    with pytest.raises(Stopped):
        trainer.run_epoch(StopsAfter(2))
    assert (trainer.epochs_done, trainer.batches_done) == (0, 2)
    epochs = [trainer.run_epoch(), trainer.run_epoch()]
    assert [e.train_loss for e in epochs] == [e.train_loss for e in expected]
