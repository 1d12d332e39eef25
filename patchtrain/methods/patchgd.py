"""`patchgd`: gradients through a few patches at a time, context from a latent block of all.

Gupta et al., Patch Gradient Descent, 2023; section II of the paper.

Shapes: B batch, m n grid, k sampled, p patch side in px, d features, K classes, G extra inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from patchtrain.batch import HostBatch
from patchtrain.config import TrialConfig
from patchtrain.latent import LatentBlock
from patchtrain.memory.meter import INPUT, LATENT
from patchtrain.methods.base import Method, MethodTools
from patchtrain.patches import PatchGrid


class PatchGd(Method):
    """Once a batch, fills Z with the features of all patches, without gradient and in evaluation
    mode (so that no chunk of the fill depends on another); in each inner iteration runs k sampled
    patches an image with gradient, puts them into Z and reads Z with the aggregator.
    """

    _batch: HostBatch
    _latent: LatentBlock
    _targets: Tensor

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        super().__init__(config, tools)
        self.iterations_per_batch = config.inner_iterations
        self._grid = PatchGrid(config.image_size, config.image_size, config.patch_size)

    def start(self, batch: HostBatch) -> None:
        """Take `batch` and fill Z with the features of all of its patches."""
        self._batch = batch
        self._targets = self._feeder.targets(batch.targets)
        with self._guard.doing("fill"), torch.no_grad(), _evaluating(self._network.backbone):
            self._latent = self._fill(batch)

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss after k newly sampled patches an image have taken their place in Z."""
        positions = self._sample(len(self._batch), generator)
        self._latent.detach()
        inputs = np.concatenate([self._patches(self._batch, positions), self._extra(self._batch)])
        with self._autocast():
            features = self._network.backbone(self._feeder.pixels(inputs))
            num_sampled = positions.size
            sampled = features[:num_sampled].unflatten(0, positions.shape)
            self._latent.replace(self._on_device(positions), sampled)
            outputs = self._network.head(self._joint(self._latent, features[num_sampled:]))
        return self._task.loss(outputs, self._targets)

    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`, every patch seen."""
        latent = self._fill(batch)
        extra = self._extra(batch)
        with self._autocast():
            features = torch.empty(0)
            if len(extra):
                features = self._network.backbone(self._feeder.pixels(extra))
            return self._network.head(self._joint(latent, features))

    def _extra(self, batch: HostBatch) -> np.ndarray:
        """Return further inputs of the backbone, uint8 [G, p, p, 3]; here none."""
        side = self._config.patch_size
        return np.empty((0, side, side, 3), np.uint8)

    def _joint(self, latent: LatentBlock, extra_features: Tensor) -> Tensor:
        """Return what the aggregator reads, given the features [G, d] of the extra inputs."""
        return latent.on_grid()

    def _fill(self, batch: HostBatch) -> LatentBlock:
        """Return Z of `batch` in chunks no larger than a pass with gradient, so that the fill never
        sets the peak.
        """
        grid = self._grid
        chunk = len(batch) * self._config.num_sampled
        where = [(image, cell) for image in range(len(batch)) for cell in range(grid.num_patches)]
        features: Tensor | None = None
        for start in range(0, len(where), chunk):
            patches = [
                grid.extract(batch.images[image], np.array([cell]))
                for image, cell in where[start : start + chunk]
            ]
            with self._autocast():
                part = self._network.backbone(self._feeder.pixels(np.concatenate(patches)))
            if features is None:
                with self._guard.allocating(LATENT):
                    features = part.new_empty((len(where), part.shape[1]))
            features[start : start + chunk] = part
        assert features is not None
        by_image = features.unflatten(0, (len(batch), grid.num_patches))
        return LatentBlock(by_image, grid.num_rows, grid.num_cols)

    def _sample(self, num_images: int, generator: torch.Generator) -> np.ndarray:
        """Return k distinct positions for each image, [B, k]."""
        with self._guard.on_host():
            k = self._config.num_sampled
            drawn = [self._grid.sample(k, generator).numpy() for _ in range(num_images)]
        return np.stack(drawn)

    def _patches(self, batch: HostBatch, positions: np.ndarray) -> np.ndarray:
        """Return the patches at `positions` [B, k], uint8 [B*k, p, p, 3]."""
        pairs = zip(batch.images, positions, strict=True)
        return np.concatenate([self._grid.extract(image, cells) for image, cells in pairs])

    def _on_device(self, positions: np.ndarray) -> Tensor:
        with self._guard.allocating(INPUT):
            return self._feeder.targets(positions)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Context: `network` is in evaluation mode; its mode before is put back."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
