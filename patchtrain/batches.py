"""Batches of host images: their order in an epoch, and reading them ahead.

Knows nothing of networks, losses or metrics.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from patchtrain.config import TrialConfig
from patchtrain.datasets import Example, ImageDataset
from patchtrain.datasets.loading.augment import Augmentation
from patchtrain.errors import one_line
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import HostBatch


def training_batches(
    config: TrialConfig, examples: Sequence[Example], epoch: int, *, skip: int = 0
) -> DataLoader[Any]:
    """Return all `examples` once, shuffled and augmented, but for the first `skip` batches.

    Args:
        epoch: 0 for the first; the order and the augmentation depend on it and on `config.seed`.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(len(examples))
    augmentation = None
    if config.augmentations:
        augmentation = Augmentation(config.augmentations, config.seed, epoch)
    return _load(config, examples, order[skip * config.batch_size :], augmentation)


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
        if isinstance(batch, Exception):
            raise batch
        yield batch


def _load(
    config: TrialConfig,
    examples: Sequence[Example],
    order: np.ndarray,
    augmentation: Augmentation | None,
) -> DataLoader[Any]:
    size = config.batch_size
    return DataLoader(
        _Caught(ImageDataset(examples, config.image_size, augmentation)),
        batch_sampler=[order[i : i + size].tolist() for i in range(0, len(order), size)],
        num_workers=config.num_workers,
        collate_fn=_collate,
    )


class _Caught(Dataset[Any]):
    """Gives errors as items: a loader process would turn an error that it raises into the text of a
    traceback.
    """

    def __init__(self, images: ImageDataset) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._images[index]
        except Exception as error:  # any error ends the epoch, in the training process
            return _as_sent(error)


def _as_sent(error: Exception) -> Exception:
    """Return `error` as it may go from one process to another."""
    try:
        return error if type(pickle.loads(pickle.dumps(error))) is type(error) else _plain(error)
    except Exception:  # own errors may refuse to be pickled in any way
        return _plain(error)


def _plain(error: Exception) -> Exception:
    return RuntimeError(one_line(error))


def _collate(items: Sequence[Any]) -> HostBatch | Exception:
    for item in items:
        if isinstance(item, Exception):
            return item
    images, targets, _ = zip(*items, strict=True)
    return HostBatch(images, targets)
