"""COCO's average precision, by pycocotools, over images with boxes in px of their original size.

Shapes: n objects, D detections.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchtrain.datasets.targets.boxes import ANY_CLASS, Objects

AREA_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "coco": {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)},
    "soda": {
        "es": (0, 12**2), "rs": (12**2, 20**2), "gs": (20**2, 32**2), "n": (32**2, 2000**2),
    },
}  # fmt: skip
"""Sizes of objects that are also measured separately, in square px of the annotated image: COCO's
small, medium and large; SODA-D's extremely, relatively and generally small, and normal."""


@dataclass(frozen=True, eq=False)
class Found:
    """The objects of an image and the detections, in px of the image's own size."""

    objects: Objects
    areas: np.ndarray
    """Areas of the objects, [n]."""
    detections: np.ndarray
    """float32 [D, 6]: box (left, top, right, bottom), score and class."""


def average_precision(
    images: Sequence[Found], num_classes: int, area_ranges: str, max_detections: int
) -> dict[str, float | None]:
    """Return AP (mean over classes and IoU 0.50 to 0.95), AP50, AP75 and AP for each size of
    object, None if there is no such object; and AR, the recall on the same terms.

    Args:
        area_ranges: a key of `AREA_RANGES`.
        max_detections: how many detections per image and class count, the surest first.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sizes = AREA_RANGES[area_ranges]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": _annotations(images, num_classes),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, _results(truth, images), "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng = [[0, 1e10], *(list(limits) for limits in sizes.values())]
        evaluation.params.areaRngLbl = ["all", *sizes]
        evaluation.evaluate()
        evaluation.accumulate()
    # IoU thresholds x recalls x classes x sizes x limits
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    thresholds = evaluation.params.iouThrs
    metrics = {"ap": _mean(precision[:, :, :, 0, 0])}
    for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
        metrics[name] = _mean(precision[np.isclose(thresholds, threshold), :, :, 0, 0])
    for number, name in enumerate(sizes, 1):
        metrics[f"ap_{name}"] = _mean(precision[:, :, :, number, 0])
    metrics["ar"] = _mean(recall[:, :, 0, 0])
    return metrics


def _annotations(images: Sequence[Found], num_classes: int) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        objects = image.objects
        columns = zip(objects.boxes, objects.labels, objects.ignored, image.areas, strict=True)
        for box, label, ignored, area in columns:
            # a region to ignore, whatever it holds, is a crowd of every class
            labels = range(num_classes) if label == ANY_CLASS else (label,)
            annotations += [
                {
                    "id": len(annotations) + offset,
                    "image_id": number,
                    "category_id": int(category),
                    "bbox": _as_coco(box),
                    "area": float(area),
                    "iscrowd": int(ignored),
                }
                # ids from 1: pycocotools takes a match with id 0 for no match
                for offset, category in enumerate(labels, 1)
            ]
    return annotations


def _results(truth: Any, images: Sequence[Found]) -> Any:
    from pycocotools.coco import COCO

    found = [
        {
            "image_id": number,
            "category_id": int(label),
            "bbox": _as_coco(np.array(box)),
            "score": float(score),
        }
        for number, image in enumerate(images)
        for *box, score, label in image.detections
    ]
    if found:
        return truth.loadRes(found)
    nothing = COCO()
    nothing.dataset = {**truth.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _as_coco(box: np.ndarray) -> list[float]:
    """Return left, top, width and height."""
    left, top, right, bottom = (float(value) for value in box)
    return [left, top, right - left, bottom - top]


def _mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None
