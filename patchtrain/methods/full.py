"""`full` and `checkpointed`: the whole image at full size through an ordinary network."""

from __future__ import annotations

import numpy as np

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.methods.base import MethodTools
from patchtrain.methods.downsampled import Downsampled
from patchtrain.step.batch import HostBatch


class Full(Downsampled):
    """Trains on every pixel at once: the reference, where memory allows it."""

    def _whole_images(self, batch: HostBatch) -> np.ndarray:
        return batch.whole()


class Checkpointed(Full):
    """`full` with activation checkpointing (Chen et al. 2016): the backbone keeps only the
    activations between its blocks and computes the others again in the backward pass. This is what
    most users would try first.
    """

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        super().__init__(config, tools)
        try:
            tools.network.backbone.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AssertionError, AttributeError, NotImplementedError):
            raise ConfigError(
                f"backbone={config.backbone!r} has no activation checkpointing; use method=full or "
                "another backbone"
            ) from None
