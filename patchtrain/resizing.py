"""Bilinear enlargement as a matrix, so that any part of the result can be had by itself.

Shapes: p small side, M large side.
"""

from __future__ import annotations

import numpy as np


def enlargement(small_px: int, large_px: int) -> np.ndarray:
    """Return the weights float32 [M, p] that make a line of M pixels from one of p.

    On both axes this is `torch.nn.functional.interpolate` with `mode="bilinear"` and
    `align_corners=False`: pixel centres keep their places, edges repeat.
    """
    at = (np.arange(large_px) + 0.5) * (small_px / large_px) - 0.5
    at = at.clip(0, small_px - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, small_px - 1)
    share = (at - below).astype(np.float32)
    weights = np.zeros((large_px, small_px), np.float32)
    lines = np.arange(large_px)
    weights[lines, below] += 1 - share
    weights[lines, above] += share
    return weights
