"""The common part of methods that learn from sampled patches.

Shapes: B batch, m n grid, k sampled, p patch side in px.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.grid.latent import LatentBlock
from patchtrain.grid.patches import PatchGrid
from patchtrain.methods.base import Method, MethodTools
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Encoded, Inputs
from patchtrain.step.randomness import unseen
from patchtrain.tasks import Pass


class SampledPatches(Method):
    """In each inner iteration, runs k newly sampled patches per image with gradient, and with them
    the whole image resized to a patch if `TrialConfig.trains_on_global`.

    Batch norm takes its statistics over the inputs of one image.
    """

    _latent: LatentBlock | None = None
    _filled_global: Tensor | None = None
    """Features [B, F] of the global patches, if they ran with the fill of Z."""

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        super().__init__(config, tools)
        self.iterations_per_batch = config.inner_iterations
        self._grid = PatchGrid(config.image_size, config.image_size, config.patch_size)

    def _encode(self, generator: torch.Generator) -> tuple[Encoded, Pass]:
        inputs, given = self._drawn(generator)
        return self._encoder.encode_for_training(inputs, generator), given

    def _drawn(self, generator: torch.Generator) -> tuple[Inputs, Pass]:
        """Return the inputs of the next inner iteration, and what they are."""
        assert self._batch is not None
        batch, per_image = self._batch, self._config.inputs_per_image
        has_global = self._config.trains_on_global
        positions = self._sample(len(batch), generator)
        inputs = batch.sampled(self._grid, positions, with_whole=has_global)
        return (
            Inputs.of(inputs, per_image),
            Pass(batch, positions, has_global, self._latent, self._filled_global),
        )

    def _sample(self, num_images: int, generator: torch.Generator) -> np.ndarray:
        """Return k distinct positions for each image, [B, k]."""
        k = self._config.num_sampled
        with unseen():
            return np.stack([self._grid.sample(k, generator).numpy() for _ in range(num_images)])

    def _at_once(self, batch: HostBatch) -> int:
        """Return how many inputs run at once without gradient: as many as with it, so that a pass
        without gradient never sets the peak.
        """
        per_image = self._config.inputs_per_image
        return self._encoder.chunk_size(len(batch) * per_image, per_image)
