"""Batches of host images: their order in an epoch, and reading them ahead.

Knows nothing of networks, losses or metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from patchtrain.config import TrialConfig
from patchtrain.datasets import Example, ImageDataset
from patchtrain.datasets.loading.augment import Augmentation
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import HostBatch


def training_batches(
    config: TrialConfig, examples: Sequence[Example], epoch: int
) -> DataLoader[Any]:
    """Return all `examples` once, shuffled and augmented.

    Args:
        epoch: 0 for the first; the order and the augmentation depend on it and on `config.seed`.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(len(examples))
    augmentation = None
    if config.augmentations:
        augmentation = Augmentation(config.augmentations, config.seed, epoch)
    return _load(config, examples, order, augmentation)


def batches_in_order(config: TrialConfig, examples: Sequence[Example]) -> DataLoader[Any]:
    """Return all `examples` once, in their order and unchanged."""
    return _load(config, examples, np.arange(len(examples)), None)


def fetched(batches: DataLoader[Any], guard: MemoryGuard) -> Iterator[HostBatch]:
    """Yield the batches; the memory that reading them takes is the host's and not in the budget."""
    with guard.on_host():
        iterator = iter(batches)
    while True:
        with guard.on_host():
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _load(
    config: TrialConfig,
    examples: Sequence[Example],
    order: np.ndarray,
    augmentation: Augmentation | None,
) -> DataLoader[Any]:
    size = config.batch_size
    return DataLoader(
        ImageDataset(examples, config.image_size, augmentation),
        batch_sampler=[order[i : i + size].tolist() for i in range(0, len(order), size)],
        num_workers=config.num_workers,
        collate_fn=_collate,
    )


def _collate(items: Sequence[tuple[np.ndarray, int | np.ndarray, int]]) -> HostBatch:
    images, targets, _ = zip(*items, strict=True)
    return HostBatch(images, targets)
