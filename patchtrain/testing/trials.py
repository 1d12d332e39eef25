"""Tiny trials on random images: what the contract suites run, in seconds and without any data.

Knows nothing of what is expected of a trial.

Shapes: B batch, S image_size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes as num_classes_of
from patchtrain.datasets.example import FittedTarget
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects, Objects
from patchtrain.engine import Engine
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import rounded
from patchtrain.step.batch import HostBatch

NUM_CLASSES = 3
"""Classes of random targets; no data set has fewer unless it says so."""

_TINY: Mapping[str, Any] = {
    "image_size": 128,
    "patch_size": 32,
    "sampling_rate": 0.2,
    "inner_iterations": 2,
    "backbone": "test_resnet",
    "batch_size": 2,
    "epochs": 2,
    "device": "cpu",
}

TINY_OF_TASK: Mapping[str, Mapping[str, Any]] = {
    "classification": {
        **_TINY,
        "dataset": "panda",
        "aggregator": "small_cnn",
        "sample_num_images": 24,
    },
    "segmentation": {
        **_TINY,
        "dataset": "image_masks",
        "data_dir": "none",
        "num_classes": NUM_CLASSES,
        "image_size": 64,
        "sampling_rate": 0.5,
        "backbone": "unet",
        "encoder": "tu-test_resnet",
    },
    "detection": {
        **_TINY,
        "dataset": "coco",
        "data_dir": "none",
        "num_classes": NUM_CLASSES,
        "patch_size": 64,
        "sampling_rate": 0.5,
        "latent_channels": 64,
        "max_detections": 20,
    },
}
"""Task -> settings of a trial that takes a second; no data set is read."""


def tiny_trial(task: str, **changes: Any) -> TrialConfig:
    """Return a tiny trial of `task` with `changes` to its settings.

    Raises:
        ConfigError: the changes are refused.
    """
    return TrialConfig.from_mapping({**TINY_OF_TASK[task], **changes})


def random_batch(config: TrialConfig, num_images: int | None = None, seed: int = 0) -> HostBatch:
    """Return random images as `config` has them, and random targets.

    Args:
        num_images: B; None: `config.batch_size`.
    """
    random = np.random.default_rng(seed)
    num_images = num_images or config.batch_size
    side = config.image_size
    images = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(num_images)]
    return HostBatch(images, _random_targets(config, num_images, random, seed))


def _random_targets(
    config: TrialConfig, num_images: int, random: np.random.Generator, seed: int
) -> Sequence[FittedTarget]:
    side, num_classes = config.image_size, config.num_classes or NUM_CLASSES
    if config.task == "segmentation":
        return list(random.integers(0, num_classes, (num_images, side, side), dtype=np.uint8))
    if config.task == "detection":
        return [random_objects(12, side, num_classes, seed + n) for n in range(num_images)]
    return [int(number) for number in random.integers(0, num_classes, num_images)]


def random_objects(num: int, side_px: int, num_classes: int, seed: int = 0) -> FittedObjects:
    """Return objects of all sizes, one of them ignored, some cut by the edge of their image."""
    random = np.random.default_rng(seed)
    middles = random.uniform(0, side_px, (num, 2))
    halves = np.exp(random.uniform(np.log(2), np.log(side_px / 2), (num, 2)))
    boxes = np.concatenate([middles - halves, middles + halves], axis=1).clip(0, side_px)
    ignored = np.arange(num) == 1
    objects = Objects(boxes.astype(np.float32), random.integers(0, num_classes, num), ignored)
    own = Annotation(objects, np.prod(2 * halves, axis=1), side_px, side_px, Path("none"))
    return FittedObjects(objects, own)


def generator(seed: int = 0) -> torch.Generator:
    """Return a generator on the host, as `Engine.train_batch` takes it."""
    return torch.Generator().manual_seed(seed)


def build_engine(
    config: TrialConfig, *, num_classes: int | None = None, **changes: int
) -> tuple[Engine, MemoryGuard]:
    """Return an engine and its guard, not entered.

    Args:
        num_classes: None: those of the data set.
        changes: other arguments of `Engine`.
    """
    guard = MemoryGuard(torch.device("cpu"), config.budget)
    classes = num_classes_of(config) if num_classes is None else num_classes
    with guard:
        engine = Engine(config, classes, guard, **{"batches_per_epoch": 2, "epochs": 2, **changes})
    return engine, guard


class Held(NamedTuple):
    """The most that a run held, when, and for what."""

    num_bytes: int
    phase: str
    by_category: Mapping[str, int]


@dataclass(frozen=True)
class Trained:
    """What is known of a tiny trial that trained for two epochs and predicted a batch."""

    losses: Sequence[float]
    """Of each batch."""
    after_first_epoch: tuple[Mapping[str, Tensor], Mapping[str, Any]]
    """Weights of the network and `Engine.state`, as a checkpoint has them."""
    weights: Mapping[str, Tensor]
    """Parameters and buffers at the end, by name."""
    outputs: np.ndarray
    """Of the predicted batch, [B, ...] as the task has them."""
    held: Held
    left_bytes: Sequence[int]
    """Held after each batch and after the prediction beside parameters, buffers, gradients and
    optimizer state, and beside what was there before the first batch."""


def train(config: TrialConfig, num_classes: int | None = None) -> Trained:
    """Train on random batches, metered, and predict one.

    Trains until gradients of every group of inner iterations have met the optimizer's state.
    """
    engine, guard = build_engine(config, num_classes=num_classes)
    if config.precision == "fp16":  # otherwise the first steps may be left out
        engine._scaler.load_state_dict({**engine._scaler.state_dict(), "scale": 1.0})
    iterations = config.inner_iterations if config.samples_patches else 1
    num_batches = max(3, 2 * config.accumulation_steps // iterations + 2)
    before = guard.live_bytes - _bytes_of_network(engine)
    losses, left = [], []
    with guard:
        losses.append(train_epoch(engine, config, range(1)))
        left.append(guard.live_bytes - _bytes_of_network(engine) - before)
        with guard.on_host():
            state = copy.deepcopy((dict(engine.network.state_dict()), engine.state()))
        losses.append(train_epoch(engine, config, range(1, num_batches)))
        left.append(guard.live_bytes - _bytes_of_network(engine) - before)
        outputs = engine.predict(random_batch(config))
    left.append(guard.live_bytes - _bytes_of_network(engine) - before)
    assert engine.optimizer.state, "no optimizer step was taken"
    peak = guard.peak()
    held = Held(peak.allocated_bytes, peak.phase, dict(peak.by_category))
    weights = engine.network.state_dict()
    return Trained([*losses[0], *losses[1]], state, weights, outputs, held, left)


def resume(config: TrialConfig, trained: Trained) -> Mapping[str, Tensor]:
    """Return the weights after the second epoch of another engine, made from a checkpoint."""
    engine, guard = build_engine(config)
    weights, state = copy.deepcopy(trained.after_first_epoch)
    with guard:
        engine.load_state(dict(weights), dict(state))
        train_epoch(engine, config, range(1, len(trained.losses)))
    return engine.network.state_dict()


def first_loss(config: TrialConfig) -> float:
    """Return the loss of the first batch of `config`."""
    engine, guard = build_engine(config)
    with guard:
        return train_epoch(engine, config, range(1))[0]


def train_epoch(engine: Engine, config: TrialConfig, numbers: Sequence[int]) -> list[float]:
    """Train on the batches `numbers` as an epoch; return their losses."""
    torch.manual_seed(config.seed + numbers[0])
    random = generator(config.seed + numbers[0])
    losses = [engine.train_batch(random_batch(config, seed=n), random) for n in numbers]
    engine.finish_epoch()
    return losses


def _bytes_of_network(engine: Engine) -> int:
    """Return what parameters, buffers, gradients and the optimizer's state take, in blocks."""
    parameters = list(engine.network.parameters())
    tensors = [*parameters, *engine.network.buffers()]
    tensors += [p.grad for p in parameters if p.grad is not None]
    for slots in engine.optimizer.state.values():
        tensors += [value for value in slots.values() if isinstance(value, Tensor)]
    storages = {id(t.untyped_storage()): t.untyped_storage().nbytes() for t in tensors}
    return sum(rounded(num_bytes) for num_bytes in storages.values())


def gradients(config: TrialConfig) -> list[Tensor]:
    """Return the gradients of the first inner iteration of `config`, of all parameters, float64.

    In single precision a convolution rounds differently with another number of inputs, and an
    activation near 0 may change sides, which some CPUs do and others do not.
    """
    with _double_precision():
        engine, guard = build_engine(config)
        with guard:
            engine._method.start(random_batch(config))
            engine._method.backward(generator())
            engine._method.finish()
    parameters = engine.network.parameters()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]


@contextmanager
def _double_precision() -> Iterator[None]:
    """Context: new tensors of fractions have 64 bits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return how far gradients lie apart, relative to the norm of those expected."""
    distances = [(a - b).norm() for a, b in zip(found, expected, strict=True)]
    return float(torch.stack(distances).norm() / torch.stack([b.norm() for b in expected]).norm())
