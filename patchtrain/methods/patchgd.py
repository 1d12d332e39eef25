"""`patchgd`: gradients through a few patches at a time, context from a latent block of all patches.

Gupta et al., Patch Gradient Descent, 2023; section II of the paper.

Shapes: B batch, m n grid; F features of an input, O outputs of an image, as the reader has them.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.meter import LATENT
from patchtrain.methods.sampled import SampledPatches
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Inputs


class PatchGd(SampledPatches):
    """Fills Z once per batch with the features of all patches, without gradient and in evaluation
    mode (so that no chunk of the fill depends on another); in each inner iteration, puts the
    sampled patches into Z and reads Z with the aggregator.
    """

    def start(self, batch: HostBatch) -> None:
        """Take `batch` and fill Z with the features of all of its patches."""
        super().start(batch)
        with self._guard.doing("fill"):
            self._latent = self._fill(batch)
            if not self._config.trains_on_global:
                self._filled_global = self._global_features(batch)

    def finish(self) -> None:
        """Drop the batch and its Z."""
        super().finish()
        self._latent = self._filled_global = None

    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs [B, O] of `batch`, every patch seen."""
        latent = self._fill(batch)
        return self._reader.read_latent(latent, self._global_features(batch))

    def _global_features(self, batch: HostBatch) -> Tensor | None:
        """Return the features [B, F] of the global patches in evaluation mode, if there are any."""
        return None

    def _fill(self, batch: HostBatch) -> LatentBlock:
        """Return Z of `batch`."""
        inputs = self._all_patches(batch, group=1)
        return self._block(self._encoder.encode(inputs, self._at_once(batch), LATENT))

    def _all_patches(self, batch: HostBatch, group: int) -> Inputs:
        """Return every patch of `batch`; batch norm takes its statistics over `group` of them."""
        grid = self._grid
        num = len(batch) * grid.num_patches
        return Inputs(num, lambda start, stop: batch.cells(grid, start, stop), group)

    def _block(self, features: Tensor) -> LatentBlock:
        """Return Z of the `features` [B*mn, F] of every patch."""
        grid = self._grid
        by_image = features.unflatten(0, (-1, grid.num_patches))
        return LatentBlock(by_image, grid.num_rows, grid.num_cols)
