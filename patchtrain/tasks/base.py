"""The contract of a task: how outputs become a loss, predictions and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import Tensor


class Task(Protocol):
    """What is predicted. Stateless."""

    metric_name: str
    """The metric that sweeps maximise; a key of `metrics`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the images of a batch, a scalar."""
        ...

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> Mapping[str, float | None]:
        """Return every metric over all images; None where it is undefined."""
        ...
