"""`Mosaic`: many images on one blank canvas, put together when it is read.

The paper's protocol for large images out of COCO's small ones (section III-B).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from patchtrain.datasets.boxes import Annotation
from patchtrain.images import WHITE, Box, ImageSource, open_image

PER_SIDE = 6
"""Images along a side: 36 on a canvas."""

CANVAS_PX = 4096

IS_MOSAIC = "is_mosaic"
"""Key of the `info` of annotations that says that the images are mosaics already."""


@dataclass(frozen=True)
class Tile:
    """An image on the canvas, and where it lies there."""

    path: Path
    box: Box
    annotation: Annotation = field(compare=False)
    """What is said of it, its size above all."""


@dataclass(frozen=True)
class Mosaic:
    """Images on a square canvas; where none is, it is white.

    Attributes:
        path: stands for it in messages.
    """

    path: Path
    side_px: int
    tiles: tuple[Tile, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are read."""
        return tuple(tile.path for tile in self.tiles)

    def open(self) -> ImageSource:
        """Return it as an image; its files are opened as they are read."""
        return _MosaicSource(self)


def place_in_cell(number: int, height_px: int, width_px: int, side_px: int) -> Box:
    """Return where image `number` of a mosaic lies: in the middle of its cell, as large as it is,
    or as the cell allows.
    """
    row, col = divmod(number, PER_SIDE)
    top, left = (side_px * line // PER_SIDE for line in (row, col))
    cell_px = side_px // PER_SIDE
    scale = min(1.0, cell_px / max(height_px, width_px))
    height, width = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    return Box(top + (cell_px - height) // 2, left + (cell_px - width) // 2, height, width)


class _MosaicSource(ImageSource):
    def __init__(self, mosaic: Mosaic) -> None:
        super().__init__(mosaic.path, [(mosaic.side_px, mosaic.side_px)])
        self._tiles = mosaic.tiles
        self._last: tuple[Tile, np.ndarray] | None = None

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        pixels = np.full((box.height, box.width, 3), WHITE, np.uint8)
        for tile in self._tiles:
            its = tile.box
            top, left = max(its.top, box.top), max(its.left, box.left)
            bottom = min(its.top + its.height, box.top + box.height)
            right = min(its.left + its.width, box.left + box.width)
            if top < bottom and left < right:
                shown = self._pixels(tile)[
                    top - its.top : bottom - its.top, left - its.left : right - its.left
                ]
                pixels[top - box.top : bottom - box.top, left - box.left : right - box.left] = shown
        return pixels

    def _pixels(self, tile: Tile) -> np.ndarray:
        """Return the image of `tile` in the size in which it is shown; `DataError` where it cannot
        be decoded or has another size than was annotated.
        """
        if self._last is None or self._last[0] is not tile:
            with open_image(tile.path) as source:
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
