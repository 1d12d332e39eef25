"""`Mosaic`: many images on one blank canvas, put together when it is read.

How the paper makes large images out of the small ones of COCO (section III-B).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from patchtrain.datasets.targets.boxes import Annotation
from patchtrain.datasets.targets.upright import check_upright
from patchtrain.images import WHITE, Box, ImageSource, ValueRange, open_image

PER_SIDE = 6
"""Images along a side, so 36 on a canvas."""

CANVAS_PX = 4096

IS_MOSAIC = "is_mosaic"
"""Key in the `info` of annotations that marks the images as mosaics already."""


@dataclass(frozen=True)
class Tile:
    """An image on the canvas, and where it lies."""

    path: Path
    box: Box
    annotation: Annotation = field(compare=False)
    """The annotation of the image, against which its size is checked."""


@dataclass(frozen=True)
class Mosaic:
    """Images on a square canvas that is white elsewhere.

    Attributes:
        path: names the mosaic in messages.
    """

    path: Path
    side_px: int
    tiles: tuple[Tile, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are read."""
        return tuple(tile.path for tile in self.tiles)

    def open(self, value_range: ValueRange | None = None) -> ImageSource:
        """Return the mosaic as an image; the files are opened when they are needed."""
        return _MosaicSource(self, value_range)


def place_in_cell(number: int, height_px: int, width_px: int, side_px: int) -> Box:
    """Return where image `number` of a mosaic lies: in the middle of its cell, made smaller if it
    is larger than the cell.
    """
    row, col = divmod(number, PER_SIDE)
    top, left = (side_px * line // PER_SIDE for line in (row, col))
    cell_px = side_px // PER_SIDE
    scale = min(1.0, cell_px / max(height_px, width_px))
    height, width = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    return Box(top + (cell_px - height) // 2, left + (cell_px - width) // 2, height, width)


class _MosaicSource(ImageSource):
    def __init__(self, mosaic: Mosaic, value_range: ValueRange | None) -> None:
        super().__init__(mosaic.path, [(mosaic.side_px, mosaic.side_px)])
        self._tiles = mosaic.tiles
        self._value_range = value_range
        self._last: tuple[Tile, np.ndarray] | None = None

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        pixels = np.full((box.height, box.width, 3), WHITE, np.uint8)
        for tile in self._tiles:
            place = tile.box
            top, left = max(place.top, box.top), max(place.left, box.left)
            bottom = min(place.top + place.height, box.top + box.height)
            right = min(place.left + place.width, box.left + box.width)
            if top < bottom and left < right:
                shown = self._pixels(tile)[
                    top - place.top : bottom - place.top, left - place.left : right - place.left
                ]
                pixels[top - box.top : bottom - box.top, left - box.left : right - box.left] = shown
        return pixels

    def _pixels(self, tile: Tile) -> np.ndarray:
        """Return the image of `tile` at the size it has on the canvas.

        Raises:
            DataError: it cannot be decoded, or its size differs from the annotation.
        """
        if self._last is None or self._last[0] is not tile:
            with open_image(tile.path, self._value_range) as source:
                check_upright(source)
                tile.annotation.check_size(tile.path, source.height, source.width)
                height, width = tile.box.height, tile.box.width
                if (source.height, source.width) == (height, width):
                    pixels = source.read(Box(0, 0, height, width))
                else:
                    pixels = source.thumbnail(height, width)
            self._last = (tile, pixels)
        return self._last[1]

    def close(self) -> None:
        self._last = None
