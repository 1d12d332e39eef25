"""Detection: boxes of objects, their classes and how sure each is; COCO's average precision.

Shapes: B images, D detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from patchtrain.datasets.targets.boxes import FittedObjects, unfit_boxes
from patchtrain.tasks.detection.average_precision import Found, average_precision


class Detection:
    """Detection of objects of `num_classes` classes.

    The outputs of an image are float32 [D, 6]: box (left, top, right, bottom in px of the fitted
    image), score and class, the surest first; rows with score 0 are empty.

    Args:
        area_ranges, max_detections: see `TrialConfig`.
    """

    metric_name = "ap"

    def __init__(
        self, num_classes: int, *, image_size: int, area_ranges: str, max_detections: int
    ) -> None:
        self.num_classes = num_classes
        self._image_size = image_size
        self._area_ranges = area_ranges
        self._max_detections = max_detections

    def score(self, outputs: np.ndarray, targets: Sequence[FittedObjects]) -> list[Found]:
        """Return the objects and detections of each image, in px of the image's own size.

        Args:
            outputs: detections [B, D, 6].
            targets: the objects of the same images.
        """
        return [self._in_own_px(*pair) for pair in zip(outputs, targets, strict=True)]

    def metrics(self, scores: Sequence[Found]) -> Mapping[str, float | None]:
        """Return every metric over all images: see `average_precision`."""
        return average_precision(scores, self.num_classes, self._area_ranges, self._max_detections)

    def _in_own_px(self, detections: np.ndarray, target: FittedObjects) -> Found:
        own = target.own
        found = detections[detections[:, 4] > 0].astype(np.float32)
        boxes = unfit_boxes(found[:, :4], own.height, own.width, self._image_size)
        in_own_px = np.concatenate([boxes.astype(np.float32), found[:, 4:]], axis=1)
        return Found(own.objects, own.areas, in_own_px)
