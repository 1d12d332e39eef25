"""`patchgd`: gradients through a few patches at a time, context from a latent block of all.

Gupta et al., Patch Gradient Descent, 2023; section II of the paper.

Shapes: B batch, m n grid, k sampled, e further inputs an image, p patch side in px, d features,
K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from patchtrain.batch import HostBatch
from patchtrain.config import TrialConfig
from patchtrain.latent import LatentBlock
from patchtrain.memory.meter import INPUT, LATENT
from patchtrain.methods.base import Method, MethodTools
from patchtrain.microbatch import Encoded, Inputs
from patchtrain.patches import PatchGrid
from patchtrain.randomness import unseen


class PatchGd(Method):
    """Once a batch, fills Z with the features of all patches, without gradient and in evaluation
    mode (so that no chunk of the fill depends on another); in each inner iteration runs k sampled
    patches an image with gradient, puts them into Z and reads Z with the aggregator.

    Batch norm takes its statistics over the patches of one image.
    """

    extra_inputs = 0
    """e: inputs of the backbone an image beside the sampled patches: 1 for the global patch."""

    _batch: HostBatch | None = None
    _latent: LatentBlock | None = None
    _targets: Tensor | None = None
    _positions: Tensor | None = None

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        super().__init__(config, tools)
        self.iterations_per_batch = config.inner_iterations
        self._grid = PatchGrid(config.image_size, config.image_size, config.patch_size)
        self._inputs_per_image = config.num_sampled + self.extra_inputs

    def start(self, batch: HostBatch) -> None:
        """Take `batch` and fill Z with the features of all of its patches."""
        self._batch = batch
        self._targets = self._feeder.targets(batch.targets)
        with self._guard.doing("fill"):
            self._latent = self._fill(batch)

    def backward(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor] = lambda loss: loss
    ) -> Tensor:
        """Add the gradients of one inner iteration (see `Method`) and keep nothing of it but Z."""
        loss = super().backward(generator, scaled)
        assert self._latent is not None
        self._latent.detach()
        self._positions = None
        return loss

    def finish(self) -> None:
        """Let go of the batch and its Z."""
        self._batch = self._latent = self._targets = self._positions = None

    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`, every patch seen."""
        latent = self._fill(batch)
        extra = self._extra_features(batch)
        with self._autocast():
            return self._network.head(self._joint(latent, extra))

    def _encode(self, generator: torch.Generator) -> Encoded:
        """Run k newly sampled patches and e further inputs an image through the backbone."""
        assert self._batch is not None
        batch = self._batch
        positions = self._sample(len(batch), generator)
        with self._guard.allocating(INPUT):
            self._positions = self._feeder.targets(positions)
        inputs = batch.sampled(self._grid, positions, with_whole=self.extra_inputs == 1)
        return self._encoder.encode_for_training(
            Inputs(len(inputs), lambda start, stop: inputs[start:stop], self._inputs_per_image),
            generator,
        )

    def _loss(self, features: Tensor) -> Tensor:
        """Return the loss after the sampled patches have taken their places in Z."""
        assert self._latent is not None and self._positions is not None
        assert self._targets is not None
        k = self._config.num_sampled
        by_image = features.unflatten(0, (len(self._targets), self._inputs_per_image))
        with self._autocast():
            self._latent.replace(self._positions, by_image[:, :k])
            outputs = self._network.head(self._joint(self._latent, by_image[:, k:]))
        return self._task.loss(outputs, self._targets)

    def _sample(self, num_images: int, generator: torch.Generator) -> np.ndarray:
        """Return k distinct positions for each image, [B, k]."""
        k = self._config.num_sampled
        with unseen():
            return np.stack([self._grid.sample(k, generator).numpy() for _ in range(num_images)])

    def _extra_features(self, batch: HostBatch) -> Tensor | None:
        """Return the features [B, e, d] of the global patches in evaluation mode; here none."""
        return None

    def _joint(self, latent: LatentBlock, extra_features: Tensor | None) -> Tensor:
        """Return what the aggregator reads, given the features [B, e, d] of global patches."""
        return latent.on_grid()

    def _fill(self, batch: HostBatch) -> LatentBlock:
        """Return Z of `batch`."""
        grid = self._grid
        inputs = Inputs(
            len(batch) * grid.num_patches,
            lambda start, stop: batch.cells(grid, start, stop),
            group=1,
        )
        features = self._encoder.encode(inputs, self._at_once(batch), LATENT)
        by_image = features.unflatten(0, (len(batch), grid.num_patches))
        return LatentBlock(by_image, grid.num_rows, grid.num_cols)

    def _at_once(self, batch: HostBatch) -> int:
        """Return how many inputs run at once without gradient: as many as with it, so that what
        has no gradient never sets the peak.
        """
        per_image = self._inputs_per_image
        return self._encoder.chunk_size(len(batch) * per_image, per_image)
