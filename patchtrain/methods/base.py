"""The contract of a method: from a batch of host images to gradients and outputs.

A method decides which pixels go through the backbone, with or without gradient; the reader decides
what happens to their features. It knows nothing of tasks, optimizers, epochs or files.

Shapes: B batch; O outputs of an image, as the reader has them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.memory.budget import MemoryGuard
from patchtrain.models import Network
from patchtrain.step.batch import HostBatch
from patchtrain.step.encoder import Encoded, Encoder, Representative
from patchtrain.tasks import Pass, Reader


@dataclass(frozen=True)
class MethodTools:
    """What a method works with."""

    network: Network
    encoder: Encoder
    """Runs the network's backbone."""
    reader: Reader
    """Reads features with the network's head."""
    guard: MemoryGuard
    representative: Representative
    """Picks the parts to go through out of equal ones; a dry run leaves out repeats."""


@dataclass(frozen=True)
class Influence:
    """What the global patch does to training."""

    gradient_share: float | None
    """The share of the backbone's gradient that comes from the global patch, 0 to 1: the norm of
    this part over the sum of its norm and that of the part from sampled patches."""
    size: float | None
    """Root mean square of the global features that join Z, over that of Z itself."""


class Method(ABC):
    """How an image is trained on.

    For each batch: `start`, then `backward` `iterations_per_batch` times, then `finish`.
    """

    iterations_per_batch = 1

    _batch: HostBatch | None = None

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        self._config = config
        self._network = tools.network
        self._encoder = tools.encoder
        self._reader = tools.reader
        self._guard = tools.guard
        self._representative = tools.representative

    def start(self, batch: HostBatch) -> None:
        """Make `batch` the one that `backward` works on."""
        self._batch = batch

    def backward(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor] = lambda loss: loss
    ) -> Tensor:
        """Add the gradients of one inner iteration to the parameters; return the loss, a scalar.

        Args:
            generator: on the host; draws which patches are sampled and seeds dropout.
            scaled: turns the loss into what is differentiated.
        """
        encoded, given = self._encode(generator)
        return self._reader.learn(encoded, given, scaled)

    def influence(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor]
    ) -> Influence | None:
        """Return what the global patch does to the batch, measured on its first image before
        `backward`; None for methods without one. Everything is left as it was.

        Args:
            generator, scaled: as for `backward`.
        """
        return None

    def finish(self) -> None:
        """Drop the batch."""
        self._batch = None

    @abstractmethod
    def predict(self, batch: HostBatch) -> np.ndarray:
        """Return the outputs [B, O] of `batch`; call it in evaluation mode without gradient."""

    @abstractmethod
    def _encode(self, generator: torch.Generator) -> tuple[Encoded, Pass]:
        """Run the inputs of one inner iteration through the backbone; return their features, and
        what the inputs are.
        """
