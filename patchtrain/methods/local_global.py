"""`local_global`: the paper's method (section III-A): patches, and the whole image as a patch.

Shapes: B batch, d features, p patch side in px.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from patchtrain.batch import HostBatch
from patchtrain.fusion import fuse
from patchtrain.latent import LatentBlock
from patchtrain.methods.patchgd import PatchGd


class LocalGlobal(PatchGd):
    """PatchGD, and in each inner iteration the global patch runs through the same backbone, with
    gradient; its feature g joins Z by `fusion`.

    Global and sampled patches run in one pass, so that batch norm sees in training the mixture that
    its running statistics describe in evaluation.
    """

    def _extra(self, batch: HostBatch) -> np.ndarray:
        """Return the global patches, uint8 [B, p, p, 3]."""
        return batch.resized(self._config.patch_size)

    def _joint(self, latent: LatentBlock, extra_features: Tensor) -> Tensor:
        """Return Z_g of Z and the global features [B, d]."""
        return fuse(latent.on_grid(), extra_features, self._config.fusion)
