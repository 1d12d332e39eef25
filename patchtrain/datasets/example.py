"""`Example`: one labelled image, and how it is read; knows nothing of any one data set.

Shapes: S image_size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchtrain.datasets.mosaics import Mosaic
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects
from patchtrain.datasets.targets.masks import IGNORED, MaskFiles, check_same_size
from patchtrain.datasets.targets.upright import check_upright
from patchtrain.images import (
    ImageSource,
    ValueRange,
    ValuesSeen,
    fit_labels,
    fit_square,
    open_image,
)

Target = int | MaskFiles | Annotation
"""Number of a class from 0, the files with the class of each pixel, or the objects."""

FittedTarget = int | np.ndarray | FittedObjects
"""The same, fitted like the image: a mask is uint8 [S, S] of class numbers, with `masks.IGNORED`
for pixels that do not count."""


class Fitted(NamedTuple):
    """An example as the trainer sees it, and the size of the image file in px."""

    image: np.ndarray
    """uint8 [S, S, 3]."""
    target: FittedTarget
    height: int
    width: int


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
        image_id: name in the data set; must be a valid file name.
        image: the file, or a mosaic of several.
        target: what is to be predicted.
        value_range: what becomes black and white in images of more than 8 bits; None: as
            `open_image` does it by itself.
    """

    image_id: str
    image: Path | Mosaic
    target: Target
    value_range: ValueRange | None = None

    @property
    def path(self) -> Path:
        """The image file; for a mosaic a path that names it in messages."""
        return self.image.path if isinstance(self.image, Mosaic) else self.image

    @property
    def stratum(self) -> int:
        """Group that splits draw from evenly: the class of the image if it has a single one."""
        return self.target if isinstance(self.target, int) else 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are read, the image first."""
        images = self.image.paths if isinstance(self.image, Mosaic) else (self.image,)
        return images if isinstance(self.target, int) else (*images, *self.target.paths)

    def open(self) -> ImageSource:
        """Return the open image; close it after use.

        Raises:
            DataError: it cannot be opened; the message names the file.
        """
        if isinstance(self.image, Mosaic):
            return self.image.open(self.value_range)
        return open_image(self.image, self.value_range)

    def read(self, image_size: int) -> Fitted:
        """Return image and target, both fitted into the same square.

        Raises:
            DataError: a file cannot be read, mask and image differ in size, or one of the two has
                an orientation tag that turns it; the message names the file.
        """
        return self.inspect(image_size)[0]

    def inspect(self, image_size: int) -> tuple[Fitted, ValuesSeen | None]:
        """As `read`, and with it the numbers found in an image of more than 8 bits."""
        with self.open() as source:
            image = fit_square(source, image_size)
            height, width, values = source.height, source.width, source.values_seen
            if not isinstance(self.target, int):
                check_upright(source)
        return Fitted(image, self._fitted_target(height, width, image_size), height, width), values

    def _fitted_target(self, height: int, width: int, image_size: int) -> FittedTarget:
        if isinstance(self.target, int):
            return self.target
        if isinstance(self.target, Annotation):
            return self.target.fitted(self.path, height, width, image_size)
        classes = self.target.read()
        check_same_size(self.target.path, classes.shape, self.path, (height, width))
        return fit_labels(classes, image_size, IGNORED)
