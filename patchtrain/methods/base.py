"""The contract of a method: from a batch of host images to losses and outputs.

A method decides which pixels go through the backbone, with or without gradient. It knows nothing of
optimizers, epochs or files.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from patchtrain.batch import DeviceFeeder, HostBatch
from patchtrain.config import TrialConfig
from patchtrain.memory.budget import MemoryGuard
from patchtrain.models import Network
from patchtrain.tasks import Task


@dataclass(frozen=True)
class MethodTools:
    """What a method works with."""

    network: Network
    task: Task
    feeder: DeviceFeeder
    guard: MemoryGuard


class Method(ABC):
    """How an image is trained on.

    For each batch: `start`, then `loss` and its backward pass `iterations_per_batch` times.
    """

    def __init__(self, config: TrialConfig, tools: MethodTools) -> None:
        self._config = config
        self._network = tools.network
        self._task = tools.task
        self._feeder = tools.feeder
        self._guard = tools.guard

    iterations_per_batch = 1

    @abstractmethod
    def start(self, batch: HostBatch) -> None:
        """Take `batch` as the one that `loss` works on."""

    @abstractmethod
    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of one inner iteration, a scalar with gradient.

        Args:
            generator: on the host; draws which patches are sampled.
        """

    @abstractmethod
    def predict(self, batch: HostBatch) -> Tensor:
        """Return the outputs [B, K] of `batch`; call it in evaluation mode without gradient."""

    def _autocast(self) -> torch.autocast:
        enabled = self._config.precision == "bf16"
        return torch.autocast(self._guard.device.type, dtype=torch.bfloat16, enabled=enabled)
