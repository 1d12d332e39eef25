"""`local_global`: the paper's method (section III-A): patches, and the whole image as a patch.

Shapes: B batch, d features, p patch side in px.
"""

from __future__ import annotations

from torch import Tensor

from patchtrain.batch import HostBatch
from patchtrain.fusion import fuse
from patchtrain.latent import LatentBlock
from patchtrain.methods.patchgd import PatchGd
from patchtrain.microbatch import Inputs


class LocalGlobal(PatchGd):
    """PatchGD, and in each inner iteration the global patch runs through the same backbone, with
    gradient; its feature g joins Z by `fusion`.

    An image's global patch runs with its sampled patches, so that batch norm sees in training the
    mixture that its running statistics describe in evaluation.
    """

    extra_inputs = 1

    def _extra_features(self, batch: HostBatch) -> Tensor:
        """Return the features [B, 1, d] of the global patches in evaluation mode."""
        patches = batch.resized(self._config.patch_size)
        inputs = Inputs(len(batch), lambda start, stop: patches[start:stop], group=1)
        return self._encoder.encode(inputs, self._at_once(batch))[:, None]

    def _joint(self, latent: LatentBlock, extra_features: Tensor | None) -> Tensor:
        """Return Z_g of Z and the global features [B, 1, d]."""
        assert extra_features is not None
        return fuse(latent.on_grid(), extra_features[:, 0], self._config.fusion)
