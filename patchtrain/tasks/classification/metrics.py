"""Classification of whole images: cross-entropy; accuracy, quadratic-weighted kappa, macro F1.

Shapes: B batch, N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_cohen_kappa,
    multiclass_f1_score,
)


class Classification:
    """Classification into `num_classes` grades or kinds."""

    metric_name = "accuracy"

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of scores [B, K] against classes [B]."""
        return functional.cross_entropy(outputs.float(), targets)

    def score(self, outputs: np.ndarray, targets: Sequence[int]) -> list[tuple[np.ndarray, int]]:
        """Return the scores [K] and the class of each image, given scores [B, K]."""
        return list(zip(outputs, map(int, targets), strict=True))

    def metrics(self, scores: Sequence[tuple[np.ndarray, int]]) -> dict[str, float | None]:
        """Return the metrics of all images' scores [K] against their classes.

        accuracy: share of images predicted right. kappa: Cohen's kappa with quadratic weights
        (PANDA's score); None if predictions and targets are all of one class. macro_f1: mean F1
        over the classes that occur in either. All lie in [0, 1] except kappa, which may be
        negative.
        """
        predicted = torch.tensor([int(outputs.argmax()) for outputs, _ in scores])
        wanted = torch.tensor([wanted for _, wanted in scores])
        k = self.num_classes
        values = {
            "accuracy": multiclass_accuracy(predicted, wanted, k, average="micro"),
            "kappa": multiclass_cohen_kappa(predicted, wanted, k, weights="quadratic"),
            "macro_f1": multiclass_f1_score(predicted, wanted, k, average="macro"),
        }
        return {name: _known(float(value)) for name, value in values.items()}


def _known(value: float) -> float | None:
    # torchmetrics counts in float32: 0.2 would come out as 0.20000000298
    return round(value, 7) if math.isfinite(value) else None
