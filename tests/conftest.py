"""Shared by all tests: tiny configurations and random batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cuda_stub.build import CannotBuild
from cuda_stub.server import Stub

from patchtrain.config import TrialConfig
from patchtrain.engine import Engine
from patchtrain.memory.budget import MemoryGuard
from patchtrain.testing import trials
from patchtrain.testing.trials import (
    NUM_CLASSES,
    generator,
    random_batch,
    random_objects,
    tiny_trial,
)

__all__ = [
    "NUM_CLASSES",
    "build_engine",
    "generator",
    "random_batch",
    "random_objects",
    "tiny",
    "tiny_boxes",
    "tiny_masks",
]

# tiny tensors: a second thread only waits, and on a busy machine for long
torch.set_num_threads(1)

TINY = tiny_trial("classification")


@pytest.hookimpl(tryfirst=True)  # before xdist asks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what stays together where tests run in several processes (`-n 2 --dist loadgroup`).

    A module shares its fixtures, and all tests that start Ray share one session of it.
    """
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def _started(tmp_path_factory: pytest.TempPathFactory, *, nvml: bool) -> Stub:
    folder = tmp_path_factory.getbasetemp().parent / "cuda_stub"  # one for all test processes
    try:
        return Stub(folder, nvml=nvml)
    except CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    """A CUDA device without a GPU; `stub.run(function)` runs a function of the test's module."""
    with closing(_started(tmp_path_factory, nvml=True)) as started:
        yield started


@pytest.fixture(scope="session")
def stub_without_nvml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    """The same, where the library of NVML is missing."""
    with closing(_started(tmp_path_factory, nvml=False)) as started:
        yield started


@pytest.fixture(scope="session", autouse=True)
def _sample_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep generated sample data in a folder of this test run."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("PATCHTRAIN_CACHE", str(folder))
    yield folder
    patch.undo()


TINY_MASKS = tiny_trial("segmentation", image_size=128, sampling_rate=0.2)
TINY_BOXES = tiny_trial("detection", image_size=256, sampling_rate=0.2)


def tiny(**changes: object) -> TrialConfig:
    return replace(TINY, **changes)


def tiny_masks(**changes: object) -> TrialConfig:
    """Return a configuration of segmentation, whose data set is not there."""
    return replace(TINY_MASKS, **changes)


def tiny_boxes(**changes: object) -> TrialConfig:
    """Return a configuration of detection, whose data set is not there."""
    return replace(TINY_BOXES, **changes)


def build_engine(config: TrialConfig, **changes: int) -> tuple[Engine, MemoryGuard]:
    """Return an engine and its guard, not entered."""
    return trials.build_engine(config, num_classes=config.num_classes or NUM_CLASSES, **changes)
