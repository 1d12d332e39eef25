"""Images with boxes drawn on them: found and missed objects, and false detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from patchtrain.datasets.targets.boxes import Objects

FOUND, FALSE, MISSED, IGNORED = "found", "false", "missed", "not counted"

_COLOURS = {
    FOUND: (0, 158, 115),
    FALSE: (213, 94, 0),
    MISSED: (86, 180, 233),
    IGNORED: (128, 128, 128),
}
"""Okabe and Ito's, distinct in every kind of colour vision."""

MIN_IOU = 0.5
SHOWN_SCORE = 0.5
"""Detections that are less sure are not drawn."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MAX_SIDE_PX = 2048
"""Larger images are drawn smaller."""


def judged(objects: Objects, detections: np.ndarray) -> tuple[list[str], list[str]]:
    """Return a verdict on each object (`FOUND`, `MISSED` or `IGNORED`) and on each of the
    `detections` [D, 6], the surest first (`FOUND` an object, `FALSE` or `IGNORED`).

    A detection finds the object of its class that it overlaps most, if that object was not found
    before and the IoU is at least `MIN_IOU`. Otherwise it is ignored if at least half of it lies in
    an ignored region.
    """
    of_objects = [IGNORED if ignored else MISSED for ignored in objects.ignored]
    of_detections = []
    for *box, _, label in detections:
        shares, covered = _overlaps(np.array(box), objects.boxes)
        free = np.array([verdict == MISSED for verdict in of_objects], bool)
        shares = np.where(free & (objects.labels == label), shares, 0)
        if len(shares) and shares.max() >= MIN_IOU:
            of_objects[int(shares.argmax())] = FOUND
            of_detections.append(FOUND)
        elif np.any(objects.ignored & (covered >= 0.5)):
            of_detections.append(IGNORED)
        else:
            of_detections.append(FALSE)
    return of_objects, of_detections


def draw_boxes(
    image: np.ndarray,
    objects: Objects,
    detections: np.ndarray,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Write `image` uint8 [H, W, 3] with boxes and a legend as `path`, a JPEG or PNG.

    Args:
        objects: in px of the image.
        detections: in px of the image, [D, 6], the surest first.
    """
    detections = detections[detections[:, 4] >= SHOWN_SCORE]
    of_objects, of_detections = judged(objects, detections)
    scale = min(1.0, _MAX_SIDE_PX / max(image.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
    picture = Image.fromarray(image).resize(size)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    for box, verdict in zip(objects.boxes, of_objects, strict=True):
        if verdict != FOUND:
            _draw_box(draw, box * scale, verdict)
    judgements = list(zip(detections, of_detections, strict=True))
    for (*box, score, label), verdict in reversed(judgements):  # the surest on top
        corners = np.array(box) * scale
        _draw_box(draw, corners, verdict)
        text = f"{class_names[int(label)]} {score:.2f}"
        at = (float(corners[0]), max(0.0, float(corners[1]) - 15))
        draw.text(at, text, _COLOURS[verdict], font, stroke_width=2, stroke_fill="black")
    _with_legend(picture, font).save(path)


def _draw_box(draw: ImageDraw.ImageDraw, box: np.ndarray, verdict: str) -> None:
    left, top, right, bottom = (float(value) for value in box)
    draw.rectangle([left, top, max(left, right), max(top, bottom)], outline=_COLOURS[verdict],
                   width=2)  # fmt: skip


def _with_legend(picture: Image.Image, font: _Font) -> Image.Image:
    together = Image.new("RGB", (max(picture.width, 480), picture.height + 24), "white")
    together.paste(picture)
    draw = ImageDraw.Draw(together)
    for number, (name, colour) in enumerate(_COLOURS.items()):
        left, top = 6 + 118 * number, picture.height + 6
        draw.rectangle([left, top, left + 12, top + 12], outline=colour, width=3)
        draw.text((left + 18, top - 2), name, "black", font)
    return together


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU of `box` [4] with each of `boxes` [n, 4], and the share of `box` in each."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod((high - low).clip(0), axis=1)
    own = max(float(np.prod(box[2:] - box[:2])), 1e-9)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (own + areas - shared), shared / own
