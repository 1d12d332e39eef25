"""Windows: the part of the tiled maps that the outputs of a patch depend on, and no more.

The maps of all patches, laid out on the grid, are never put together. The outputs of a head of 3x3
convolutions for a patch's cells depend on these cells and a halo around them, so only this window
is read. That gives exactly the outputs of the whole map, except for group norm, whose statistics
are then those of the window, in training and evaluation alike.

A window at the image's edge is moved inwards and is as large as the others: so all have the same
shape, and convolutions pad with zeros where they would in the whole map.

Pure geometry: knows no tensors.

Shapes: m rows and columns of the grid, h cells along a patch, w along a window; L cells of a patch
and W of a window, over all levels; c windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from patchtrain.tasks.detection.assignment import Region
from patchtrain.tasks.detection.detectors import Levels


@dataclass(frozen=True)
class Windows:
    """The windows of a grid's patches."""

    levels: Levels
    """The levels of a patch."""
    grid_size: int
    """m"""
    halo: int
    """In cells."""

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """The cells along a side of each level's window (w)."""
        return tuple(min(self.grid_size * side, side + 2 * self.halo) for side in self.levels.sides)

    @property
    def num_cells(self) -> int:
        """W"""
        return sum(side**2 for side in self.sides)

    def regions(self, cell: int) -> list[Region]:
        """Return the cells of the patch at `cell` in the tiled maps."""
        row, col = divmod(cell, self.grid_size)
        return [
            Region(stride, row * side, col * side, side, side)
            for stride, side in zip(self.levels.strides, self.levels.sides, strict=True)
        ]

    def lines(self, cells: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and the columns of the tiled map that the windows at `cells` [c] cover,
        int64 [c, w] each.
        """
        rows, cols = np.divmod(cells, self.grid_size)
        return self._shown(rows, level), self._shown(cols, level)

    def sources(self, cells: np.ndarray) -> np.ndarray:
        """Return, for each cell of the windows at `cells` [c], the index among the mn*L cells of
        all patches, counted patch by patch; int64 [c, W].
        """
        parts = []
        before = 0
        for level, side in enumerate(self.levels.sides):
            rows, cols = self.lines(cells, level)
            patch = rows[:, :, None] // side * self.grid_size + cols[:, None, :] // side
            inside = rows[:, :, None] % side * side + cols[:, None, :] % side
            found = patch * self.levels.num_cells + before + inside
            parts.append(found.reshape(len(cells), -1))
            before += side**2
        return np.concatenate(parts, axis=1)

    def own(self, cells: np.ndarray) -> np.ndarray:
        """Return, for each cell of the patches at `cells` [c], the index in the patch's window;
        int64 [c, L].
        """
        parts = []
        before = 0
        rows, cols = np.divmod(cells, self.grid_size)
        for level, (side, window) in enumerate(zip(self.levels.sides, self.sides, strict=True)):
            down = self._offsets(rows, level)[:, None] + np.arange(side)
            across = self._offsets(cols, level)[:, None] + np.arange(side)
            found = before + down[:, :, None] * window + across[:, None, :]
            parts.append(found.reshape(len(cells), -1))
            before += window**2
        return np.concatenate(parts, axis=1)

    def _shown(self, numbers: np.ndarray, level: int) -> np.ndarray:
        """Return the lines [c, w] of the map that the windows of patches in the rows or columns
        `numbers` [c] of the grid cover.
        """
        return self._first(numbers, level)[:, None] + np.arange(self.sides[level])

    def _first(self, numbers: np.ndarray, level: int) -> np.ndarray:
        side, window = self.levels.sides[level], self.sides[level]
        return (numbers * side - self.halo).clip(0, self.grid_size * side - window)

    def _offsets(self, numbers: np.ndarray, level: int) -> np.ndarray:
        return numbers * self.levels.sides[level] - self._first(numbers, level)
