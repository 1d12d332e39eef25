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
from patchtrain.datasets.targets.masks import IGNORED, MaskFiles, check_same_size, check_upright
from patchtrain.images import ImageSource, fit_labels, fit_square, open_image

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
    """

    image_id: str
    image: Path | Mosaic
    target: Target

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
        return self.image.open() if isinstance(self.image, Mosaic) else open_image(self.image)

    def read(self, image_size: int) -> Fitted:
        """Return image and target, both fitted into the same square.

        Raises:
            DataError: a file cannot be read, mask and image differ in size, or one of the two has
                an orientation tag that turns it; the message names the file.
        """
        with self.open() as source:
            image = fit_square(source, image_size)
            height, width = source.height, source.width
            if isinstance(self.target, MaskFiles):
                check_upright(source)
        if isinstance(self.target, int):
            return Fitted(image, self.target, height, width)
        if isinstance(self.target, Annotation):
            fitted = self.target.fitted(self.path, height, width, image_size)
            return Fitted(image, fitted, height, width)
        classes = self.target.read()
        check_same_size(self.target.path, classes.shape, self.path, (height, width))
        return Fitted(image, fit_labels(classes, image_size, IGNORED), height, width)
