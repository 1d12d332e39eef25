"""What `evaluate` writes about classified images."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchtrain.tasks.predictions import Predicted, Predictions


class ClassPredictions(Predictions):
    """Columns per image: target, predicted and the probability of each class."""

    def _columns(self, image: Predicted) -> dict[str, Any]:
        shifted = np.exp(image.output - image.output.max())
        probabilities = shifted / shifted.sum()
        return {
            "target": image.target,
            "predicted": int(image.output.argmax()),
            **{f"probability_{k}": float(value) for k, value in enumerate(probabilities)},
        }
