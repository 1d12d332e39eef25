"""The figure of predicted masks: image, truth, prediction and difference, one row an image.

Shapes: S image side in px, R rows of the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchtrain.datasets.masks import IGNORED

RIGHT, FALSE, MISSED, WRONG, OUTSIDE = "right", "false", "missed", "wrong class", "not counted"

_GREY = (128, 128, 128)
_DIFFERENCE: Mapping[str, tuple[int, int, int]] = {
    RIGHT: (255, 255, 255),
    FALSE: (213, 94, 0),
    MISSED: (0, 114, 178),
    WRONG: (213, 94, 0),
    OUTSIDE: _GREY,
}
"""Told apart in every kind of colour vision."""

_CLASSES = np.array(
    [
        (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
        (213, 94, 0), (204, 121, 167), (255, 255, 255),
    ],
    np.uint8,
)  # fmt: skip
"""Okabe and Ito's; repeated where there are more classes."""


@dataclass(frozen=True)
class MaskPicture:
    """One image with its masks."""

    image_id: str
    image: np.ndarray
    """uint8 [S, S, 3]"""
    truth: np.ndarray
    """uint8 [S, S]"""
    predicted: np.ndarray
    """uint8 [S, S]"""


def difference(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Return what the difference of two masks [S, S] consists of: name -> bool [S, S].

    Two classes: right, false and missed pixels of class 1; more: right ones and those of a wrong
    class. What is not counted is in neither.
    """
    counted = truth != IGNORED
    parts = {OUTSIDE: ~counted}
    if num_classes == 2:
        parts[RIGHT] = counted & (truth == 1) & (predicted == 1)
        parts[FALSE] = counted & (truth == 0) & (predicted == 1)
        parts[MISSED] = counted & (truth == 1) & (predicted == 0)
    else:
        parts[RIGHT] = counted & (truth == predicted)
        parts[WRONG] = counted & (truth != predicted)
    return parts


def draw_masks(pictures: Sequence[MaskPicture], num_classes: int, path: Path) -> None:
    """Write the figure of `pictures` as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    num_rows = len(pictures)
    figure = Figure(figsize=(12, 3.2 * num_rows + 0.6), layout="constrained")
    grid = figure.subplots(num_rows, 4, squeeze=False)
    named: dict[str, None] = {}
    for axes, picture in zip(grid, pictures, strict=True):
        parts = difference(picture.truth, picture.predicted, num_classes)
        named |= {name: None for name, where in parts.items() if where.any()}
        shown = (
            picture.image,
            _coloured(picture.truth, num_classes),
            _coloured(picture.predicted, num_classes),
            _drawn(parts),
        )
        for place, pixels in zip(axes, shown, strict=True):
            place.imshow(pixels, interpolation="none" if num_rows == 1 else "antialiased")
            place.set_xticks([])
            place.set_yticks([])
        axes[0].set_ylabel(picture.image_id, fontsize="small")
    for place, title in zip(grid[0], ("image", "truth", "prediction", "difference"), strict=True):
        place.set_title(title)
    handles = [
        Patch(facecolor=_hex(_DIFFERENCE[name]), edgecolor="black", label=name) for name in named
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=120, format="png")


def _coloured(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the mask [S, S] in colours, uint8 [S, S, 3]."""
    palette = _CLASSES if num_classes > 2 else _CLASSES[[0, -1]]
    colours = palette[mask % len(palette)]
    colours[mask == IGNORED] = _GREY
    return colours


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _drawn(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the parts of a difference in their colours, uint8 [S, S, 3]."""
    shape = next(iter(parts.values())).shape
    pixels = np.zeros((*shape, 3), np.uint8)
    for name, where in parts.items():
        pixels[where] = _DIFFERENCE[name]
    return pixels
