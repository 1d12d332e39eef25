from __future__ import annotations

import numpy as np
import pytest

from patchtrain.tasks.detection.detectors import Levels
from patchtrain.tasks.detection.fcos import Fcos
from patchtrain.tasks.detection.windows import Windows


def tiled(windows: Windows, per_cell: np.ndarray, level: int) -> np.ndarray:
    """Return the map of one level from values [mn*L] of all cells."""
    side, size = windows.levels.sides[level], windows.grid_size
    start = sum(s**2 for s in windows.levels.sides[:level])
    cells = per_cell.reshape(size, size, windows.levels.num_cells)[:, :, start : start + side**2]
    cells = cells.reshape(size, size, side, side).transpose(0, 2, 1, 3)
    return cells.reshape(size * side, size * side)


@pytest.mark.parametrize(("patch_px", "size"), [(64, 4), (128, 2), (96, 3), (64, 1)])
def test_windows_show_a_patch_and_what_is_around_it(patch_px, size):
    windows = Windows(Levels(patch_px), size, Fcos.halo_cells)
    cells = np.arange(size**2)
    numbers = np.arange(size**2 * windows.levels.num_cells)
    sources, own = windows.sources(cells), windows.own(cells)
    assert sources.shape == (size**2, windows.num_cells)
    start = 0
    for level, (side, shown) in enumerate(zip(windows.levels.sides, windows.sides, strict=True)):
        whole = tiled(windows, numbers, level)
        rows, cols = windows.lines(cells, level)
        for cell in cells:
            window = sources[cell, start : start + shown**2].reshape(shown, shown)
            np.testing.assert_array_equal(window, whole[np.ix_(rows[cell], cols[cell])])
            row, col = divmod(cell, size)
            for lines, first in ((rows, row * side), (cols, col * side)):
                # a halo on both sides, or the edge of the map
                assert lines[cell][0] <= max(0, first - windows.halo)
                assert lines[cell][-1] + 1 >= min(size * side, first + side + windows.halo)
        start += shown**2
    # the patch's own cells, found through its window
    for cell in cells:
        np.testing.assert_array_equal(
            sources[cell][own[cell]],
            np.arange(cell * windows.levels.num_cells, (cell + 1) * windows.levels.num_cells),
        )


def test_levels_whose_cells_do_not_cover_a_patch_are_left_out():
    assert Levels(64).strides == (8, 16, 32, 64)
    assert Levels(96).strides == (8, 16, 32)
    assert Levels(512).sides == (64, 32, 16, 8, 4)
