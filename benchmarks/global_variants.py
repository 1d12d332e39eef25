"""Variants of the methods with a latent block, to see what else decides how well they learn.

`global_patch.py` names them; each is one change to `patchgd` or `local_global`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from patchtrain.catalog.methods import METHODS
from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.meter import LATENT
from patchtrain.methods.local_global import LocalGlobal
from patchtrain.methods.patchgd import PatchGd
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Inputs
from patchtrain.tasks import Pass


class _FilledInTraining(PatchGd):
    """Z is filled in training mode, as in PatchGD's code: batch norm takes its statistics over all
    patches of an image.
    """

    def _fill(self, batch: HostBatch) -> LatentBlock:
        if not self._network.training:
            return super()._fill(batch)
        inputs = self._all_patches(batch, group=self._grid.num_patches)
        seed = 0  # of dropout, which no table has
        return self._block(self._encoder.encode_in_training(inputs, seed, LATENT))


class _WithoutReplacement(PatchGd):
    """No patch of an image is sampled again before all have been, over the inner iterations of a
    batch.
    """

    def start(self, batch: HostBatch) -> None:
        super().start(batch)
        self._left: list[np.ndarray] = [np.zeros(0, np.int64)] * len(batch)

    def _sample(self, num_images: int, generator: torch.Generator) -> np.ndarray:
        k = self._config.num_sampled
        for image in range(num_images):
            if len(self._left[image]) < k:
                every = torch.randperm(self._grid.num_patches, generator=generator)
                self._left[image] = every.numpy()
        taken = np.stack([left[:k] for left in self._left])
        self._left = [left[k:] for left in self._left]
        return taken


class _NormOverBatch(PatchGd):
    """Batch norm takes its statistics over the sampled patches of all images of a batch."""

    def _drawn(self, generator: torch.Generator) -> tuple[Inputs, Pass]:
        inputs, given = super()._drawn(generator)
        return replace(inputs, group=inputs.num), given


class PatchGdFilledInTraining(_FilledInTraining):
    """`patchgd` so."""

    facts = METHODS["patchgd"]


class FilledInTraining(_FilledInTraining, LocalGlobal):
    """`local_global` so."""

    facts = METHODS["local_global"]


class PatchGdWithoutReplacement(_WithoutReplacement):
    """`patchgd` so."""

    facts = METHODS["patchgd"]


class WithoutReplacement(_WithoutReplacement, LocalGlobal):
    """`local_global` so."""

    facts = METHODS["local_global"]


class PatchGdNormOverBatch(_NormOverBatch):
    """`patchgd` so."""

    facts = METHODS["patchgd"]


class NormOverBatch(_NormOverBatch, LocalGlobal):
    """`local_global` so."""

    facts = METHODS["local_global"]


def forms() -> dict[str, dict[str, Any]]:
    """Return name -> settings of every variant; those with a global patch take it with `concat`."""
    kinds = {
        "training-fill": (PatchGdFilledInTraining, FilledInTraining),
        "without-replacement": (PatchGdWithoutReplacement, WithoutReplacement),
        "norm-over-batch": (PatchGdNormOverBatch, NormOverBatch),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (alone, joined) in kinds.items():
        found[f"patchgd-{name}"] = {"method": f"{__name__}:{alone.__name__}"}
        for global_pass in ("joint", "filled"):
            found[f"{global_pass}-concat-{name}"] = {
                "method": f"{__name__}:{joined.__name__}",
                "global_pass": global_pass,
                "fusion": "concat",
            }
    return found
