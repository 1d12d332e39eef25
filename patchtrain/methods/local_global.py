"""`local_global`: the paper's method (section III): patches, and the whole image as a patch.

Shapes: B batch; F features of an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from patchtrain.memory.meter import LATENT
from patchtrain.methods.base import Influence
from patchtrain.methods.patchgd import PatchGd
from patchtrain.step.aside import encode_aside
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Inputs, statistics_kept
from patchtrain.step.randomness import restored, same_as


class LocalGlobal(PatchGd):
    """PatchGD, and the global patch runs through the same backbone; its features g join Z by
    `fusion`. `global_pass` says when it runs:

    - `joint`: in each inner iteration, with gradient. An image's global patch runs with its sampled
      patches, so that batch norm sees in training the mixture that its running statistics describe
      in evaluation.
    - `filled`: once per batch, as the patches of the fill: in evaluation mode, without gradient.
    """

    def influence(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor]
    ) -> Influence | None:
        """See `Method`."""
        assert self._latent is not None
        share: float | None = 0.0
        whole = self._filled_global
        if self._config.trains_on_global:
            generator = same_as(generator)
            inputs, given = self._drawn(generator)
            aside = encode_aside(self._encoder, inputs, generator)
            with restored(self._guard.device), statistics_kept(self._network.head):
                self._reader.learn(aside, given, scaled)
            whole = aside.features.detach()[given.global_row(0) :]
            for parameter in self._network.parameters():
                parameter.grad = None
            last = inputs.group - 1
            ours = aside.norm_from(range(last, inputs.group))
            rest = aside.norm_from(range(last))
            share = _ratio(ours, ours + rest)
        assert whole is not None
        sizes = [
            _root_mean_square(values.detach())
            for values in (self._reader.joining(whole[0]), self._latent.of_image(0))
        ]
        return Influence(share, _ratio(*sizes))

    def _global_features(self, batch: HostBatch) -> Tensor:
        """Return the features [B, F] of the global patches in evaluation mode."""
        inputs = Inputs.of(batch.resized(self._config.patch_size), group=1)
        return self._encoder.encode(inputs, self._at_once(batch), LATENT)


def _root_mean_square(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float32)) / math.sqrt(values.numel())


def _ratio(part: float, whole: float) -> float | None:
    """Return `part / whole`; None if it is not a number."""
    ratio = part / whole if whole else math.nan
    return ratio if math.isfinite(ratio) else None
