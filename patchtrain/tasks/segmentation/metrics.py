"""Segmentation: the class of every pixel; Dice and cross-entropy, confusion counts and metrics.

Shapes: N maps, H W px, K classes, C channels of outputs, B images, S sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.tasks.segmentation.confusion import image_metrics, pooled_metrics


def outputs_for(num_classes: int) -> int:
    """Return C: one channel tells two classes apart."""
    return 1 if num_classes == 2 else num_classes


class Segmentation:
    """Segmentation into `num_classes` classes.

    The loss of an image is its Dice loss plus its mean cross-entropy (binary if K = 2). Both follow
    from sums over pixels, so an image can be read piece by piece with the gradient of the whole
    image: see `sums` and `loss_of`.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.metric_name = "f1" if num_classes == 2 else "mean_iou"

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sums over some pixels that the loss needs, [S]; those of pieces add up.

        Args:
            outputs: [N, C, H, W].
            targets: class numbers, uint8 [N, H, W]; `IGNORED` pixels are not counted.
        """
        outputs = outputs.float()
        valid = targets != IGNORED
        if self.num_classes == 2:
            wanted = (targets == 1).to(outputs.dtype)[:, None]
            errors = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
            shares = outputs.sigmoid()
        else:
            numbers = torch.arange(self.num_classes, device=targets.device)[:, None, None]
            wanted = (targets[:, None] == numbers).to(outputs.dtype)
            logarithms = outputs.log_softmax(dim=1)
            errors = -(logarithms * wanted).sum(dim=1, keepdim=True)
            shares = logarithms.exp()
        counted = valid.to(outputs.dtype)[:, None]
        shares, wanted = shares * counted, wanted * counted
        over_pixels = (0, 2, 3)
        return torch.cat(
            [
                (errors * counted).sum()[None],
                counted.sum()[None],
                (shares * wanted).sum(over_pixels),
                shares.sum(over_pixels),
                wanted.sum(over_pixels),
            ]
        )

    def loss_of(self, sums: Tensor) -> Tensor:
        """Return the loss of an image whose pixels have the `sums` [S], a scalar.

        Dice loss: 1 - (2 I + 1) / (P + T + 1) with the sums over pixels of share times truth (I),
        share (P) and truth (T); the mean over the classes that the image has, 0 if it has none.
        """
        errors, count = sums[:2]
        overlap, shares, wanted = sums[2:].unflatten(0, (3, -1))
        dice = 1 - (2 * overlap + 1) / (shares + wanted + 1)
        present = (wanted > 0).to(dice.dtype)
        mean_dice = (dice * present).sum() / present.sum().clamp(min=1)
        return mean_dice + errors / count.clamp(min=1)

    @property
    def num_sums(self) -> int:
        """S"""
        return 2 + 3 * outputs_for(self.num_classes)

    def classes(self, outputs: Tensor) -> Tensor:
        """Return the class of each pixel of `outputs` [N, C, H, W], uint8 [N, H, W]."""
        if self.num_classes == 2:
            return (outputs[:, 0] > 0).to(torch.uint8)
        return outputs.argmax(dim=1).to(torch.uint8)

    def score(self, outputs: np.ndarray, targets: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the confusion counts [K, K] (truth, prediction) of each image.

        Args:
            outputs: predicted classes, uint8 [B, H, W].
            targets: true classes, each uint8 [H, W].
        """
        return [self._confusion(*pair) for pair in zip(outputs, targets, strict=True)]

    def metrics(self, scores: Sequence[np.ndarray]) -> Mapping[str, float | None]:
        """Return every metric over all images: see `confusion`."""
        return {**pooled_metrics(sum(scores)), **image_metrics(scores)}  # type: ignore[arg-type]

    def _confusion(self, predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        valid = wanted != IGNORED
        pairs = wanted[valid].astype(np.int64) * self.num_classes + predicted[valid]
        counts = np.bincount(pairs, minlength=self.num_classes**2)
        return counts.reshape(self.num_classes, self.num_classes)
