"""The figure of predicted masks: image, truth, prediction and difference, one row per image.

Shapes: S image side in px, R rows of the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from patchtrain.datasets.targets.masks import IGNORED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT, FALSE, MISSED, WRONG = "right", "false", "missed", "wrong class"
BACKGROUND, OUTSIDE = "right, background", "not counted"

_GREY = (128, 128, 128)
_DIFFERENCE: Mapping[str, tuple[int, int, int]] = {
    BACKGROUND: (0, 0, 0),
    RIGHT: (255, 255, 255),
    FALSE: (213, 94, 0),
    MISSED: (0, 114, 178),
    WRONG: (213, 94, 0),
    OUTSIDE: _GREY,
}
"""Distinct in every kind of colour vision."""

_FEW_CLASSES = np.array(
    [
        (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
        (213, 94, 0), (204, 121, 167), (255, 255, 255),
    ],
    np.uint8,
)  # fmt: skip
"""Okabe and Ito's, distinct in every kind of colour vision; two classes get the first and last."""

_Place = Literal["outside lower left", "outside lower right"]

_MAX_NAMED = 16
"""Classes in the legend; more would take the place of the pictures."""


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
    """Return the parts of the difference between two masks [S, S]: name -> bool [S, S].

    Two classes: right, false and missed pixels of class 1, and right pixels of class 0; more
    classes: right pixels and pixels of a wrong class. Pixels that are not counted are a part of
    their own.
    """
    counted = truth != IGNORED
    parts = {OUTSIDE: ~counted}
    if num_classes == 2:
        parts[BACKGROUND] = counted & (truth == 0) & (predicted == 0)
        parts[RIGHT] = counted & (truth == 1) & (predicted == 1)
        parts[FALSE] = counted & (truth == 0) & (predicted == 1)
        parts[MISSED] = counted & (truth == 1) & (predicted == 0)
    else:
        parts[RIGHT] = counted & (truth == predicted)
        parts[WRONG] = counted & (truth != predicted)
    return parts


def draw_masks(pictures: Sequence[MaskPicture], class_names: Sequence[str], path: Path) -> None:
    """Write the figure of `pictures` as a PNG; `class_names` has the name of each class."""
    from matplotlib.figure import Figure

    num_rows, palette = len(pictures), _palette(len(class_names))
    figure = Figure(figsize=(12, 3.2 * num_rows + 0.9), layout="constrained")
    grid = figure.subplots(num_rows, 4, squeeze=False)
    found: set[str] = set()
    for axes, picture in zip(grid, pictures, strict=True):
        parts = difference(picture.truth, picture.predicted, len(class_names))
        found |= {name for name, where in parts.items() if where.any()}
        shown = (
            picture.image,
            _coloured(picture.truth, palette),
            _coloured(picture.predicted, palette),
            _drawn(parts),
        )
        for place, pixels in zip(axes, shown, strict=True):
            place.imshow(pixels, interpolation="none" if num_rows == 1 else "antialiased")
            place.set_xticks([])
            place.set_yticks([])
        axes[0].set_ylabel(picture.image_id, fontsize="small", parse_math=False)
    for place, title in zip(grid[0], ("image", "truth", "prediction", "difference"), strict=True):
        place.set_title(title)
    occurring = np.unique([(picture.truth, picture.predicted) for picture in pictures])
    classes = {
        class_names[number]: tuple(palette[number]) for number in occurring if number != IGNORED
    }
    _add_legend(figure, "outside lower left", "classes", classes)
    differences = {name: colour for name, colour in _DIFFERENCE.items() if name in found}
    _add_legend(figure, "outside lower right", "difference", differences)
    figure.savefig(path, dpi=120, format="png")


def _add_legend(
    figure: Figure, place: _Place, title: str, colours: Mapping[str, Sequence[int]]
) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=_hex(colour), edgecolor="black", label=name)
        for name, colour in list(colours.items())[:_MAX_NAMED]
    ]
    if len(colours) > _MAX_NAMED:
        title += f" ({_MAX_NAMED} of {len(colours)})"
    legend = figure.legend(
        handles=handles, loc=place, ncols=4, frameon=False, title=title, alignment="left"
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _palette(num_classes: int) -> np.ndarray:
    """Return a colour for each class, uint8 [num_classes, 3]."""
    from matplotlib import colormaps

    if num_classes == 2:
        return _FEW_CLASSES[[0, -1]]
    if num_classes <= len(_FEW_CLASSES):
        return _FEW_CLASSES[:num_classes]
    return colormaps["turbo"](np.linspace(0, 1, num_classes), bytes=True)[:, :3]


def _coloured(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the mask [S, S] in colours, uint8 [S, S, 3]."""
    is_class = mask != IGNORED
    colours = palette[np.where(is_class, mask, 0)]
    colours[~is_class] = _GREY
    return colours


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _drawn(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the parts of a difference in their colours, uint8 [S, S, 3]."""
    shape = next(iter(parts.values())).shape
    pixels = np.zeros((*shape, 3), np.uint8)
    for name, where in parts.items():
        pixels[where] = _DIFFERENCE[name]
    return pixels
