"""Shared by all tests: tiny configurations and random batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from patchtrain.config import TrialConfig
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects, Objects
from patchtrain.engine import Engine
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import HostBatch

NUM_CLASSES = 3

# tiny tensors: a second thread only waits, and on a busy machine for long
torch.set_num_threads(1)

TINY = TrialConfig(
    image_size=128,
    patch_size=32,
    sampling_rate=0.2,
    inner_iterations=2,
    backbone="test_resnet",
    aggregator="small_cnn",
    batch_size=2,
    epochs=2,
    device="cpu",
    sample_num_images=24,
)


@pytest.hookimpl(tryfirst=True)  # before xdist asks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what stays together where tests run in several processes (`-n 2 --dist loadgroup`).

    A module shares its fixtures, and all tests that start Ray share one session of it.
    """
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def _sample_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep generated sample data in a folder of this test run."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("PATCHTRAIN_CACHE", str(folder))
    yield folder
    patch.undo()


TINY_MASKS = TrialConfig.from_mapping(
    {
        "dataset": "image_masks",
        "data_dir": "none",
        "num_classes": NUM_CLASSES,
        "image_size": 128,
        "patch_size": 32,
        "sampling_rate": 0.2,
        "inner_iterations": 2,
        "encoder": "tu-test_resnet",
        "batch_size": 2,
        "epochs": 2,
        "device": "cpu",
    }
)


TINY_BOXES = TrialConfig.from_mapping(
    {
        "dataset": "coco",
        "data_dir": "none",
        "num_classes": NUM_CLASSES,
        "image_size": 256,
        "patch_size": 64,
        "sampling_rate": 0.2,
        "inner_iterations": 2,
        "backbone": "test_resnet",
        "latent_channels": 64,
        "max_detections": 20,
        "batch_size": 2,
        "epochs": 2,
        "device": "cpu",
    }
)


def tiny(**changes: object) -> TrialConfig:
    return replace(TINY, **changes)


def tiny_masks(**changes: object) -> TrialConfig:
    """Return a configuration of segmentation, whose data set is not there."""
    return replace(TINY_MASKS, **changes)


def tiny_boxes(**changes: object) -> TrialConfig:
    """Return a configuration of detection, whose data set is not there."""
    return replace(TINY_BOXES, **changes)


def random_objects(num: int, side_px: int, num_classes: int, seed: int = 0) -> FittedObjects:
    """Return objects of all sizes and an ignored one, some cut by the edge of their image."""
    random = np.random.default_rng(seed)
    middles = random.uniform(0, side_px, (num, 2))
    halves = np.exp(random.uniform(np.log(2), np.log(side_px / 2), (num, 2)))
    boxes = np.concatenate([middles - halves, middles + halves], axis=1).clip(0, side_px)
    ignored = np.arange(num) == 1
    objects = Objects(boxes.astype(np.float32), random.integers(0, num_classes, num), ignored)
    own = Annotation(objects, np.prod(2 * halves, axis=1), side_px, side_px, Path("none"))
    return FittedObjects(objects, own)


def random_batch(config: TrialConfig, num_images: int | None = None, seed: int = 0) -> HostBatch:
    random = np.random.default_rng(seed)
    num_images = num_images or config.batch_size
    side = config.image_size
    images = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(num_images)]
    if config.task == "segmentation":
        masks = random.integers(0, config.num_classes, (num_images, side, side), dtype=np.uint8)
        return HostBatch(images, list(masks))
    if config.task == "detection":
        objects = [
            random_objects(12, side, config.num_classes, seed + number)
            for number in range(num_images)
        ]
        return HostBatch(images, objects)
    return HostBatch(images, random.integers(0, NUM_CLASSES, num_images))


def build_engine(config: TrialConfig, **changes: int) -> tuple[Engine, MemoryGuard]:
    """Return an engine and its guard, not entered."""
    guard = MemoryGuard(torch.device("cpu"), config.budget)
    with guard:
        classes = config.num_classes or NUM_CLASSES
        engine = Engine(config, classes, guard, **{"batches_per_epoch": 2, "epochs": 2, **changes})
    return engine, guard


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
