"""The contract of a task: predictions, and the metrics that they earn.

How outputs become a loss is between a task and its reader (see `readers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Task(Protocol):
    """What is predicted. Stateless."""

    metric_name: str
    """The metric that sweeps maximise; a key of `metrics`."""
    num_classes: int

    def score(self, outputs: np.ndarray, targets: Sequence[Any]) -> Sequence[Any]:
        """Return of each image of a batch what `metrics` needs.

        Args:
            outputs: what `Engine.predict` gives.
            targets: of the same images, as the data set has them.
        """
        ...

    def metrics(self, scores: Sequence[Any]) -> Mapping[str, float | None]:
        """Return every metric over all images; None where it is undefined."""
        ...
