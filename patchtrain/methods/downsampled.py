"""`downsampled`: the whole image, resized to `patch_size`, through an ordinary classifier."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from patchtrain.batch import HostBatch
from patchtrain.methods.base import Method


class Downsampled(Method):
    """Trains on the image as small as a patch: the cheapest, without fine detail."""

    _batch: HostBatch

    def start(self, batch: HostBatch) -> None:
        """Take `batch` as the one that `loss` works on."""
        self._batch = batch

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of the batch; nothing is sampled."""
        targets = self._feeder.targets(self._batch.targets)
        return self._task.loss(self.predict(self._batch), targets)

    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`."""
        pixels = self._feeder.pixels(self._whole_images(batch))
        with self._autocast():
            return self._network(pixels)

    def _whole_images(self, batch: HostBatch) -> np.ndarray:
        return batch.resized(self._config.patch_size)
