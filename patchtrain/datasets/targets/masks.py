"""Masks: from the files of a data set to the class of each pixel.

Knows nothing of folders, splits or training.

Shapes: H W px of the mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from patchtrain.datasets.targets.upright import check_upright
from patchtrain.errors import DataError
from patchtrain.images import ImageSource, Stored, open_image

IGNORED = 255
"""In a mask: a pixel that counts neither in training nor in metrics."""

BRIGHT = 127
"""Greys above this are bright."""

_SMALLEST_AREA = 0.001
"""Smallest share of a mask that an area of one grey must cover to look like a class."""

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""


class MaskReader(ABC):
    """How the pixels of a mask file stand for classes."""

    def read(self, path: Path) -> np.ndarray:
        """Return the classes uint8 [H, W], `IGNORED` for pixels without one.

        Raises:
            DataError: the file cannot be read, or has pixels that stand for no class.
        """
        with open_image(path) as source:
            check_upright(source)
            return self._classes(source, source.read_stored())

    @abstractmethod
    def _classes(self, source: ImageSource, stored: Stored) -> np.ndarray:
        """Return the classes uint8 [H, W] of the open file, whose pixels are `stored`."""

    @abstractmethod
    def drawn(self, classes: np.ndarray) -> Image.Image:
        """Return the picture of `classes` uint8 [H, W], without `IGNORED`, as `read` reads it."""


def _black_and_white(classes: np.ndarray) -> Image.Image:
    return Image.fromarray((classes * 255).astype(np.uint8))


@dataclass(frozen=True)
class ThresholdMask(MaskReader):
    """Two classes: bright pixels are class 1, the others class 0.

    Grey files that hold only the numbers 0 and 1 are read as class numbers, although no pixel in
    them is bright.
    """

    def _classes(self, source: ImageSource, stored: Stored) -> np.ndarray:
        is_number = stored.values.ndim == 2 and not stored.is_palette and not stored.is_lossy
        if is_number:
            _check_no_class_numbers(source.path, stored.values)
            if stored.values.max() <= 1:
                return stored.values.astype(np.uint8)
        pixels = _read_opaque(source, stored)
        grey = np.asarray(Image.fromarray(pixels).convert("L"))
        if not stored.is_lossy:
            _check_two_classes(source.path, pixels, grey)
        bright = grey > BRIGHT
        # 16-bit greys may all be dark, and equal once they are scaled
        shades = stored.values if is_number else grey
        if not bright.any() and shades.max() > 0:
            limit = f"{BRIGHT} of 255"
            if shades.itemsize > 1:
                limit = f"{257 * BRIGHT + 128} of 65535: they have 16 bits"
            raise DataError(
                f"{source.path}: has greys from {shades.min()} to {shades.max()}, none of them "
                f"bright (above {limit}), so all would be background; save background as 0 "
                "and the class as 255 in an 8-bit PNG, or say in classes.csv what its colours mean"
            )
        return bright.astype(np.uint8)

    def drawn(self, classes: np.ndarray) -> Image.Image:
        """Return class 1 white on black."""
        return _black_and_white(classes)


@dataclass(frozen=True)
class ColourMask(MaskReader):
    """Classes by colour; palette indices are turned into colours first.

    Attributes:
        classes: every colour that may occur, with the class or `IGNORED`.
    """

    classes: tuple[tuple[Colour, int], ...]

    def _classes(self, source: ImageSource, stored: Stored) -> np.ndarray:
        _check_exact(source, stored, "colours")
        pixels = _packed(_read_opaque(source, stored))
        table = sorted((int(_packed(np.array(colour))), number) for colour, number in self.classes)
        colours = np.array([colour for colour, _ in table], np.uint32)
        numbers = np.array([number for _, number in table], np.uint8)
        place = np.searchsorted(colours, pixels).clip(max=len(colours) - 1)
        unknown = pixels[colours[place] != pixels]
        if len(unknown):
            raise DataError(_unknown_colour(source.path, unknown, colours))
        return numbers[place]

    def drawn(self, classes: np.ndarray) -> Image.Image:
        """Return the classes in their colours; if several were merged into one (`foreground`),
        class 1 white on black.
        """
        colour_of = {number: colour for colour, number in self.classes if number != IGNORED}
        if len(colour_of) < sum(number != IGNORED for _, number in self.classes):
            return _black_and_white(classes)
        colours = [colour_of[number] for number in sorted(colour_of)]
        return Image.fromarray(np.array(colours, np.uint8)[classes])


@dataclass(frozen=True)
class NumberMask(MaskReader):
    """Class numbers: greys, or the indices of a palette, 0 to `num_classes` - 1; 255 is ignored.

    In GIF files only greys count, since programs renumber the palette when they save.
    """

    num_classes: int

    def _classes(self, source: ImageSource, stored: Stored) -> np.ndarray:
        _check_exact(source, stored, "class numbers")
        numbers = stored.values
        if numbers.ndim == 3:
            numbers = _read_opaque(source, stored)
            if np.any(numbers != numbers[..., :1]):
                raise DataError(
                    f"{source.path}: has colours instead of class numbers; save the numbers "
                    "as grey, or say in classes.csv what the colours mean"
                )
            numbers = numbers[..., 0]
        wrong = numbers[(numbers != IGNORED) & (numbers >= self.num_classes)]
        if wrong.size:
            raise DataError(
                f"{source.path}: has class {wrong.max()}, more than num_classes={self.num_classes} "
                f"allows (0 to {self.num_classes - 1}; {IGNORED} is ignored), in {wrong.size} px; "
                "raise num_classes, or correct the mask"
            )
        return numbers.astype(np.uint8)

    def drawn(self, classes: np.ndarray) -> Image.Image:
        """Return the class numbers as greys."""
        return Image.fromarray(classes)


class Size(NamedTuple):
    """Height and width in px."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height} x {self.width} px"


@dataclass(frozen=True)
class MaskFiles:
    """The files that give the class of each pixel of an image.

    Attributes:
        path: the mask, as large as the image.
        reader: what its pixels mean.
        field_of_view: mask whose bright pixels count; None: all pixels do.
    """

    path: Path
    reader: MaskReader
    field_of_view: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are read."""
        return (self.path,) if self.field_of_view is None else (self.path, self.field_of_view)

    def read(self) -> np.ndarray:
        """Return the classes uint8 [H, W], `IGNORED` outside the field of view.

        Raises:
            DataError: a file cannot be read, or the two differ in size.
        """
        classes = self.reader.read(self.path)
        if self.field_of_view is not None:
            seen = ThresholdMask().read(self.field_of_view)
            check_same_size(self.path, classes.shape, self.field_of_view, seen.shape)
            classes[seen == 0] = IGNORED
        return classes


def check_same_size(
    mask: Path, mask_shape: tuple[int, ...], other: Path, other_shape: tuple[int, ...]
) -> None:
    """Raise DataError unless the mask has the [height, width] of the file `other`."""
    if mask_shape != other_shape:
        raise DataError(
            f"{mask}: is {Size(*mask_shape)}, but {other} is {Size(*other_shape)}; a mask must "
            "have the size of its image: replace the wrong one"
        )


def parse_colour(text: str) -> Colour | None:
    """Return the colour written as `#RRGGBB`; None if `text` is not of this form."""
    digits = text.removeprefix("#")
    if len(digits) != 6 or not set(digits) <= set("0123456789abcdefABCDEF"):
        return None
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _read_opaque(source: ImageSource, stored: Stored) -> np.ndarray:
    """Return the pixels as RGB [H, W, 3].

    Raises:
        DataError: some are transparent.
    """
    if not stored.is_opaque:
        raise DataError(
            f"{source.path}: has transparent pixels, which have no class; save the mask without "
            "transparency"
        )
    return stored.colours()


def _check_two_classes(path: Path, pixels: np.ndarray, grey: np.ndarray) -> None:
    """Raise DataError if a mask that should be black and white has more than two classes.

    Soft edges are fine: they have many greys, but none that fills an area.

    Args:
        path: named in the error.
        pixels: uint8 [H, W, 3].
        grey: uint8 [H, W].
    """
    remedy = (
        "which looks like more than one class and background; set num_classes, or say in "
        "classes.csv what each colour means"
    )
    if np.any(pixels != pixels[..., :1]):
        colours = np.unique(_packed(pixels))
        if len(colours) > 2:
            listed = ", ".join(f"#{colour:06X}" for colour in colours[:5])
            raise DataError(f"{path}: has {len(colours)} colours ({listed}), {remedy}")
    height, width = grey.shape
    if min(height, width) < 3:
        return
    around = [
        grey[row : height - 2 + row, column : width - 2 + column]
        for row in range(3)
        for column in range(3)
    ]
    is_inside = np.logical_and.reduce([each == around[4] for each in around])
    areas = np.bincount(around[4][is_inside], minlength=256)
    levels = np.flatnonzero(areas >= max(1, _SMALLEST_AREA * grey.size))
    if len(levels) > 2:
        listed = ", ".join(map(str, levels[:6]))
        raise DataError(f"{path}: has {len(levels)} greys that fill areas ({listed}), {remedy}")


def _check_no_class_numbers(path: Path, values: np.ndarray) -> None:
    """Raise DataError if 1, 2, ... occur with 255: these are class numbers and ignored pixels."""
    found = np.unique(values)
    numbers = found[(found > 0) & (found != IGNORED)]
    if IGNORED in found and len(numbers) and np.array_equal(numbers, 1 + np.arange(len(numbers))):
        raise DataError(
            f"{path}: has the values {', '.join(map(str, numbers[:5]))} beside {IGNORED}, which "
            "look like class numbers and ignored pixels, not like one bright class; set "
            "num_classes, or say in classes.csv what #000000, #010101 and #FFFFFF mean"
        )


def _check_exact(source: ImageSource, stored: Stored, what: str) -> None:
    if stored.is_lossy:
        raise DataError(
            f"{source.path}: is compressed as JPEG or similar, which does not keep {what} "
            "exactly; save the mask as PNG from the original"
        )


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Return colours [..., 3] as numbers 0xRRGGBB [...]."""
    red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _unknown_colour(path: Path, unknown: np.ndarray, known: np.ndarray) -> str:
    colours, counts = np.unique(unknown, return_counts=True)
    others = f", and {len(colours) - 1} other unknown colours" if len(colours) > 1 else ""
    listed = ", ".join(f"#{colour:06X}" for colour in known[:20])
    return (
        f"{path}: has the colour #{colours[counts.argmax()]:06X} in {counts.max()} px{others}, "
        f"which stands for no class (known: {listed}); correct the mask, or the list of colours"
    )
