"""Bilinear enlargement as a matrix, so that any part of the result can be computed by itself.

Shapes: p small side, M large side.
"""

from __future__ import annotations

import numpy as np


def enlargement(small_px: int, large_px: int) -> np.ndarray:
    """Return the weights float32 [M, p] that make a line of M pixels from one of p.

    Applied to both axes this is `torch.nn.functional.interpolate` with `mode="bilinear"` and
    `align_corners=False`: pixel centres keep their places, edges repeat.
    """
    return _weights((np.arange(large_px) + 0.5) * (small_px / large_px) - 0.5, small_px)


def enlargement_of_cells(num_cells: int, times: int, stride_px: int) -> np.ndarray:
    """Return the weights float32 [M, p] that make a line of M = `times` * `num_cells` cells of a
    feature map from one of p = `num_cells`, each `stride_px` px apart.

    The small map shows the image `times` smaller. Cell i stands for the pixel at i times the
    stride, as in networks that pad one pixel wherever they halve a map.
    """
    px = np.arange(times * num_cells) * stride_px
    return _weights(((px + 0.5) / times - 0.5) / stride_px, num_cells)


def _weights(at: np.ndarray, num: int) -> np.ndarray:
    """Return the weights float32 [M, `num`] that read a line at the places `at` [M]."""
    at = at.clip(0, num - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, num - 1)
    share = (at - below).astype(np.float32)
    weights = np.zeros((len(at), num), np.float32)
    lines = np.arange(len(at))
    weights[lines, below] += 1 - share
    weights[lines, above] += share
    return weights
