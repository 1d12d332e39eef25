"""Metrics of segmentation from confusion counts, over all pixels and image by image.

TP, FP, FN and TN count the pixels of a class that are found, falsely found, missed and rightly left
out (two classes: of class 1; more: of each class against the rest):

- accuracy: share of pixels predicted right
- sensitivity = TP / (TP + FN), specificity = TN / (TN + FP)
- f1 = 2 TP / (2 TP + FP + FN), iou = TP / (TP + FP + FN)
- balanced_accuracy: two classes: (sensitivity + specificity) / 2; more: mean sensitivity
- plr = sensitivity / (1 - specificity), nlr = (1 - sensitivity) / specificity: the positive and
  the negative likelihood ratio

With more than two classes f1, plr and nlr are means over the classes for which they are defined,
and mean_iou replaces iou. Infinite and undefined values (0 / 0) are left out and counted:
`plr_undefined` is the number of classes, `image_plr_undefined` the number of classes over all
images (two classes: the number of images). A metric that is undefined everywhere is None.

Shapes: K classes; confusion counts [K, K] have the truth in rows, the prediction in columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_RATIOS = ("plr", "nlr")
IMAGE_PREFIX = "image_"
UNDEFINED_SUFFIX = "_undefined"


def pooled_metrics(confusion: np.ndarray) -> dict[str, float | None]:
    """Return the metrics of all pixels together, with the counts of undefined values."""
    values, undefined = _metrics(confusion)
    counts = {name + UNDEFINED_SUFFIX: float(undefined[name]) for name in _RATIOS}
    return {**values, **counts}


def image_metrics(confusions: Sequence[np.ndarray]) -> dict[str, float | None]:
    """Return the mean of each metric over the images in which it is defined, as `image_<name>`, and
    how often it is undefined, see above.
    """
    by_image = [_metrics(confusion) for confusion in confusions]
    means: dict[str, float | None] = {}
    for name in by_image[0][0]:
        defined = [value for values, _ in by_image if (value := values[name]) is not None]
        means[IMAGE_PREFIX + name] = float(np.mean(defined)) if defined else None
        if name != "accuracy":
            num_undefined = sum(undefined[name] for _, undefined in by_image)
            means[IMAGE_PREFIX + name + UNDEFINED_SUFFIX] = float(num_undefined)
    return means


def _metrics(confusion: np.ndarray) -> tuple[dict[str, float | None], Mapping[str, int]]:
    """Return the metrics, and for how many classes each is undefined."""
    found = np.diag(confusion).astype(np.float64)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    total = float(confusion.sum())
    num_classes = len(confusion)
    if num_classes == 2:
        found, truth, predicted = found[1:], truth[1:], predicted[1:]
    missed, false = truth - found, predicted - found
    left = total - found - missed - false
    sensitivity, specificity = _ratio(found, truth), _ratio(left, left + false)
    by_class = {
        "accuracy": _ratio(np.array([np.trace(confusion)]), np.array([total])),
        "f1": _ratio(2 * found, 2 * found + false + missed),
        "iou" if num_classes == 2 else "mean_iou": _ratio(found, found + false + missed),
        "balanced_accuracy": (sensitivity + specificity) / 2 if num_classes == 2 else sensitivity,
        "plr": _ratio(sensitivity, 1 - specificity),
        "nlr": _ratio(1 - sensitivity, specificity),
    }
    values = {name: _mean(by_class[name]) for name in by_class}
    return values, {name: int(np.isnan(by_class[name]).sum()) for name in by_class}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotients; NaN if infinite or undefined."""
    missing = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=missing, where=denominator > 0)


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
