"""Fits images and labels into squares, and back; knows nothing of files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from patchtrain.images.source import WHITE, Box, ImageSource


def place_in_square(height_px: int, width_px: int, size_px: int) -> Box:
    """Return where an image of `height_px` x `width_px` lies in a square of `size_px`.

    The aspect ratio stays: the longer side becomes `size_px` (smaller images are enlarged), and the
    image is centred.
    """
    scale = size_px / max(height_px, width_px)
    height = max(1, round(height_px * scale))
    width = max(1, round(width_px * scale))
    return Box((size_px - height) // 2, (size_px - width) // 2, height, width)


def fit_square(source: ImageSource, size_px: int) -> np.ndarray:
    """Return the image as uint8 [size_px, size_px, 3], placed by `place_in_square` on white."""
    box = place_in_square(source.height, source.width, size_px)
    square = np.full((size_px, size_px, 3), WHITE, np.uint8)
    square[_inside(box)] = source.thumbnail(box.height, box.width)
    return square


def fit_labels(labels: np.ndarray, size_px: int, padding: int) -> np.ndarray:
    """Return the uint8 `labels` [height, width] of an image as [size_px, size_px], each placed
    where `fit_square` places the pixel it belongs to, with `padding` around.

    Labels are never mixed: each new pixel takes the label at its centre.
    """
    height_px, width_px = labels.shape
    box = place_in_square(height_px, width_px, size_px)
    square = np.full((size_px, size_px), padding, np.uint8)
    square[_inside(box)] = _resize_labels(labels, box.height, box.width)
    return square


def unfit_square(square: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return the uint8 labels [size, size] of a fitted image at its original size, uint8
    [height_px, width_px]: the inverse of `fit_labels`, exact unless that made the image smaller.
    """
    box = place_in_square(height_px, width_px, len(square))
    return _resize_labels(square[_inside(box)], height_px, width_px)


def _inside(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _resize_labels(labels: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return `labels` resized by Pillow's NEAREST, which samples at the centre of each new pixel
    (OpenCV's and torch's `nearest` sample at the corner).
    """
    resized = Image.fromarray(labels).resize((width_px, height_px), Image.Resampling.NEAREST)
    return np.array(resized)
