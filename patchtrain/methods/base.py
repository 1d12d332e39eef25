"""The contract of a method: from a batch of host images to gradients and outputs.

A method decides which pixels go through the backbone, with or without gradient. It knows nothing of
optimizers, epochs or files.

Shapes: B batch, d features, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from patchtrain.batch import DeviceFeeder, HostBatch
from patchtrain.config import TrialConfig
from patchtrain.memory.budget import MemoryGuard
from patchtrain.microbatch import Encoded, Encoder
from patchtrain.models import Network
from patchtrain.tasks import Task


@dataclass(frozen=True)
class MethodTools:
    """What a method works with."""

    network: Network
    task: Task
    feeder: DeviceFeeder
    encoder: Encoder
    """Runs the network's backbone."""
    guard: MemoryGuard
    autocast: Callable[[], AbstractContextManager[object]]
    """Makes the context of mixed precision."""


class Method(ABC):
    """How an image is trained on.

    For each batch: `start`, then `backward` `iterations_per_batch` times, then `finish`.
    """

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        self._config = config
        self._network = tools.network
        self._task = tools.task
        self._feeder = tools.feeder
        self._encoder = tools.encoder
        self._guard = tools.guard
        self._autocast = tools.autocast

    iterations_per_batch = 1

    @abstractmethod
    def start(self, batch: HostBatch) -> None:
        """Take `batch` as the one that `backward` works on."""

    def backward(
        self, generator: torch.Generator, scaled: Callable[[Tensor], Tensor] = lambda loss: loss
    ) -> Tensor:
        """Add the gradients of one inner iteration to the parameters'; return its loss, a scalar.

        Args:
            generator: on the host; draws which patches are sampled and seeds dropout.
            scaled: makes of the loss what is differentiated.
        """
        encoded = self._encode(generator)
        with self._guard.doing("head"):
            loss = self._loss(encoded.features)
        encoded.backward(scaled(loss))
        return loss.detach()

    @abstractmethod
    def finish(self) -> None:
        """Let go of the batch."""

    @abstractmethod
    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`; call it in evaluation mode without gradient."""

    @abstractmethod
    def _encode(self, generator: torch.Generator) -> Encoded:
        """Run what one inner iteration learns from through the backbone."""

    @abstractmethod
    def _loss(self, features: Tensor) -> Tensor:
        """Return the loss that the head makes of the features [N, d] of `_encode`."""
