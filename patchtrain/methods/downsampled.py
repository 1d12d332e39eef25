"""`downsampled`: the whole image, resized to `patch_size`, through an ordinary classifier.

Shapes: B batch, d features, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from patchtrain.batch import HostBatch
from patchtrain.methods.base import Method
from patchtrain.microbatch import Encoded, Inputs


class Downsampled(Method):
    """Trains on the image as small as a patch: the cheapest, without fine detail.

    Batch norm takes its statistics over the batch, as an ordinary classifier's does.
    """

    _batch: HostBatch | None = None

    def start(self, batch: HostBatch) -> None:
        """Take `batch` as the one that `backward` works on."""
        self._batch = batch

    def finish(self) -> None:
        """Let go of the batch."""
        self._batch = None

    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`."""
        at_once = self._encoder.chunk_size(len(batch), len(batch))
        features = self._encoder.encode(self._inputs(batch), at_once)
        with self._autocast():
            return self._network.head(features)

    def _encode(self, generator: torch.Generator) -> Encoded:
        assert self._batch is not None
        return self._encoder.encode_for_training(self._inputs(self._batch), generator)

    def _loss(self, features: Tensor) -> Tensor:
        assert self._batch is not None
        with self._autocast():
            outputs = self._network.head(features)
        return self._task.loss(outputs, self._feeder.targets(self._batch.targets))

    def _inputs(self, batch: HostBatch) -> Inputs:
        images = self._whole_images(batch)
        return Inputs(len(batch), lambda start, stop: images[start:stop], group=len(batch))

    def _whole_images(self, batch: HostBatch) -> np.ndarray:
        return batch.resized(self._config.patch_size)
