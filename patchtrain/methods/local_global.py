"""`local_global`: the paper's method (section III): patches, and the whole image as a patch.

Shapes: B batch; F features of an input.
"""

from __future__ import annotations

from torch import Tensor

from patchtrain.methods.patchgd import PatchGd
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Inputs


class LocalGlobal(PatchGd):
    """PatchGD, and in each inner iteration the global patch runs through the same backbone, with
    gradient; its features g join Z by `fusion`.

    An image's global patch runs with its sampled patches, so that batch norm sees in training the
    mixture that its running statistics describe in evaluation.
    """

    has_global = True

    def _global_features(self, batch: HostBatch) -> Tensor:
        """Return the features [B, F] of the global patches in evaluation mode."""
        patches = batch.resized(self._config.patch_size)
        inputs = Inputs(len(batch), lambda start, stop: patches[start:stop], group=1)
        return self._encoder.encode(inputs, self._at_once(batch))
