"""`downsampled`: the whole image, resized to `patch_size`, through an ordinary network.

Shapes: B batch; O outputs of an image.
"""

from __future__ import annotations

import numpy as np
import torch

from patchtrain.methods.base import Method
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Encoded, Inputs
from patchtrain.tasks import Pass


class Downsampled(Method):
    """Trains on the image resized to a patch: the cheapest method, but without fine detail.

    Batch norm takes its statistics over the batch, as in an ordinary network.
    """

    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs [B, O] of `batch`."""
        at_once = self._encoder.chunk_size(len(batch), len(batch))
        features = self._encoder.encode(self._inputs(batch), at_once)
        return self._reader.read_whole(features)

    def _encode(self, generator: torch.Generator) -> tuple[Encoded, Pass]:
        assert self._batch is not None
        encoded = self._encoder.encode_for_training(self._inputs(self._batch), generator)
        return encoded, Pass(self._batch)

    def _inputs(self, batch: HostBatch) -> Inputs:
        return Inputs.of(self._whole_images(batch), group=len(batch))

    def _whole_images(self, batch: HostBatch) -> np.ndarray:
        return batch.resized(self._config.patch_size)
