"""Reads feature vectors with an aggregator on the map of all patches, or with a linear layer.

Shapes: B batch, k sampled, d features, K classes.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.meter import INPUT
from patchtrain.step.encoder import Encoded
from patchtrain.tasks.base import Pass, Reader, ReaderTools, Scaled
from patchtrain.tasks.classification.metrics import Classification


class ClassificationReader(Reader):
    """Class scores of whole images."""

    def __init__(self, config: TrialConfig, tools: ReaderTools, task: Classification) -> None:
        super().__init__(config, tools)
        self._task = task

    def learn(self, encoded: Encoded, given: Pass, scaled: Scaled) -> Tensor:
        """See `Reader`."""
        with self._guard.doing("head"):
            with self._autocast():
                outputs = self._outputs(encoded.features, given)
            targets = self._feeder.targets(given.batch.class_numbers())
            loss = self._task.loss(outputs, targets)
        encoded.backward(scaled(loss))
        if given.latent is not None:
            given.latent.detach()
        return loss.detach()

    def read_whole(self, features: Tensor) -> np.ndarray:
        """Return the scores [B, K] given `features` [B, d]."""
        with self._autocast():
            outputs = self._network.head(features)
        return self._to_host(outputs.float())

    def read_latent(self, latent: LatentBlock, global_features: Tensor | None) -> np.ndarray:
        """Return the scores [B, K] given Z and the global features [B, d]."""
        with self._autocast():
            outputs = self._network.head(self._joint(latent, global_features))
        return self._to_host(outputs.float())

    def _outputs(self, features: Tensor, given: Pass) -> Tensor:
        if given.positions is None:
            return self._network.head(features)
        assert given.latent is not None
        k = given.positions.shape[1]
        by_image = features.unflatten(0, (len(given.batch), given.inputs_per_image))
        with self._guard.allocating(INPUT):
            positions = self._feeder.targets(given.positions)
        given.latent.replace(positions, by_image[:, :k])
        global_features = by_image[:, k] if given.has_global else given.filled_global
        return self._network.head(self._joint(given.latent, global_features))

    def _joint(self, latent: LatentBlock, global_features: Tensor | None) -> Tensor:
        """Return the aggregator's input."""
        joint = latent.on_grid()
        if global_features is None:
            return joint
        assert self._network.fusion is not None
        return self._network.fusion(joint, global_features[:, :, None, None])
