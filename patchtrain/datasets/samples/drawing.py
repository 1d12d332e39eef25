"""Random fields that generated pictures are drawn with; knows nothing of what they show."""

from __future__ import annotations

import numpy as np
from PIL import Image


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Return random unevenness float32 [height, width], zero mean and variance a little below 1.

    Bumps have a width of `cell`, a share of the longer side.
    """
    height, width = shape
    cell_px = max(1.0, cell * max(shape))
    coarse = (round(height / cell_px) + 2, round(width / cell_px) + 2)
    return _enlarge(rng.standard_normal(coarse, np.float32), shape)


def grain(rng: np.random.Generator, shape: tuple[int, int], grain_px: int) -> np.ndarray:
    """Return noise float32 [height, width] of unit variance in squares of `grain_px`."""
    height, width = shape
    coarse = rng.standard_normal((-(-height // grain_px), -(-width // grain_px)), np.float32)
    return coarse.repeat(grain_px, axis=0).repeat(grain_px, axis=1)[:height, :width]


def _enlarge(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    enlarged = Image.fromarray(field).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.array(enlarged)  # a copy, which can be written to
