"""Draws mosaics of handwritten digits: objects of ten classes, from a few px to an eighth of the
image, on 36 backgrounds. The digits are the real ones of 8 px in scikit-learn (Alpaydin and Kaynak,
UCI).

Shapes: S side of the image in px, n objects.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from patchtrain.datasets.mosaics import PER_SIDE

MIN_OBJECT_PX = 14
"""Height of the smallest digits; in small cells a third of the cell."""

_LARGEST = 1 / 8
"""Height of the largest digits, as a share of the image."""

_MEAN_OBJECTS = 4
"""Per cell."""

_TRIES = 20
"""Most places tried for an object before it is left out."""

_MIN_CONTRAST = 70
_EDGE = (0.3, 0.7)
"""Lowest and highest grey of a scan that belongs to the edge of a digit."""

_INK = 0.5
"""Opacity from which on a pixel counts as part of a digit."""


class DigitMosaic(NamedTuple):
    """An image and the digits on it."""

    image: np.ndarray
    """uint8 [S, S, 3]"""
    boxes: np.ndarray
    """Left, top, right and bottom in px, int64 [n, 4]."""
    labels: np.ndarray
    """int64 [n]"""
    areas: np.ndarray
    """Pixels of ink, int64 [n]."""


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return loaded.images / 16, loaded.target


def draw_mosaic(rng: np.random.Generator, side_px: int, part: int) -> DigitMosaic:
    """Return a mosaic.

    Args:
        rng: decides what it shows.
        side_px: side of the image.
        part: which half of the scanned digits it uses, 0 or 1: training and validation share none.
    """
    canvas = np.empty((side_px, side_px, 3), np.float32)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    areas: list[int] = []
    images, classes = _digits()
    numbers = np.arange(part, len(classes), 2)
    for cell in range(PER_SIDE**2):
        row, col = divmod(cell, PER_SIDE)
        top, bottom = (side_px * line // PER_SIDE for line in (row, row + 1))
        left, right = (side_px * line // PER_SIDE for line in (col, col + 1))
        ground = _ground(rng, bottom - top, right - left)
        canvas[top:bottom, left:right] = ground
        taken: list[tuple[int, int, int, int]] = []
        for number in rng.choice(numbers, rng.poisson(_MEAN_OBJECTS)):
            ink = _ink(rng, images[number], side_px)
            place = _free_place(rng, ink.shape, (bottom - top, right - left), taken)
            if place is None:
                continue
            y, x = place[0] + top, place[1] + left
            height, width = ink.shape
            under = canvas[y : y + height, x : x + width]
            under += (_colour(rng, under.mean(axis=(0, 1))) - under) * ink[..., None]
            taken.append((place[0], place[1], place[0] + height, place[1] + width))
            boxes.append((x, y, x + width, y + height))
            labels.append(int(classes[number]))
            areas.append(int((ink > _INK).sum()))
    noise = rng.normal(0, 4, canvas.shape)
    return DigitMosaic(
        np.rint(canvas + noise).clip(0, 255).astype(np.uint8),
        np.array(boxes, np.int64).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(areas, np.int64),
    )


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a soft background of two colours, float32 [height, width, 3]."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    soft = coarse.resize((width, height), Image.Resampling.BICUBIC).filter(
        ImageFilter.GaussianBlur(2)
    )
    share = np.asarray(soft, np.float32)[..., None] / 255
    one = rng.uniform(20, 235, 3).astype(np.float32)
    other = (one + rng.uniform(-60, 60, 3)).clip(0, 255).astype(np.float32)
    return one + (other - one) * share


def _ink(rng: np.random.Generator, digit: np.ndarray, side_px: int) -> np.ndarray:
    """Return the opacity of a digit, float32, cropped to the ink."""
    smallest = min(MIN_OBJECT_PX, side_px / PER_SIDE / 3)
    largest = max(smallest, side_px * _LARGEST)
    height = max(3, round(np.exp(rng.uniform(np.log(smallest), np.log(largest)))))
    drawn = Image.fromarray((digit * 255).astype(np.uint8)).crop(_drawn_box(digit > 0))
    width = max(3, round(height * drawn.width / drawn.height))
    grey = np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    ink = ((grey - _EDGE[0]) / (_EDGE[1] - _EDGE[0])).clip(0, 1)
    if not ink.any():  # thin lines of a very small digit
        ink = grey / grey.max()
    left, top, right, bottom = _drawn_box(ink > 0)
    return ink[top:bottom, left:right]


def _drawn_box(drawn: np.ndarray) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def _free_place(
    rng: np.random.Generator,
    size: tuple[int, ...],
    cell: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int] | None:
    """Return a row and column where the object overlaps no other; None if no place was found."""
    height, width = size
    if height >= cell[0] or width >= cell[1]:
        return None
    for _ in range(_TRIES):
        top, left = int(rng.integers(cell[0] - height)), int(rng.integers(cell[1] - width))
        if all(
            top >= t[2] or left >= t[3] or top + height <= t[0] or left + width <= t[1]
            for t in taken
        ):
            return top, left
    return None


def _colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """Return a colour that stands out from `ground`."""
    while True:
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        if np.abs(colour - ground).mean() > _MIN_CONTRAST:
            return colour
