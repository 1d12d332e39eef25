"""Objects of an image as boxes: as annotated, and fitted like the image. Reads no files.

Boxes are left, top, right, bottom in px from the image's upper left corner.

Shapes: n objects, S image_size, D detections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchtrain.errors import DataError
from patchtrain.images import place_in_square

ANY_CLASS = -1
"""Label of a region to be ignored for every class."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Boxes and their classes."""

    boxes: np.ndarray
    """float32 [n, 4]"""
    labels: np.ndarray
    """Class numbers from 0, int64 [n]; ignored ones may have `ANY_CLASS`."""
    ignored: np.ndarray
    """bool [n]: crowds and regions to be ignored, in training and in metrics."""

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls) -> Objects:
        """Return no objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))

    def moved(self, boxes: np.ndarray) -> Objects:
        """Return the same objects with other boxes [n, 4]."""
        return Objects(boxes.astype(np.float32), self.labels, self.ignored)

    def only(self, which: np.ndarray) -> Objects:
        """Return the objects that the index `which` selects."""
        return Objects(self.boxes[which], self.labels[which], self.ignored[which])


@dataclass(frozen=True, eq=False)
class Annotation:
    """The objects of an image as annotated, in px of the original image."""

    objects: Objects
    areas: np.ndarray
    """Of each object in square px, float64 [n]; in COCO of the outline, so smaller than the box."""
    height: int
    """Of the image, in px."""
    width: int
    source: Path
    """The annotation file."""
    number: int = 0
    """Id of the image in that file."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that this depends on."""
        return (self.source,)

    def fitted(self, image: Path, height: int, width: int, image_size: int) -> FittedObjects:
        """Return the objects where they lie once the image is fitted into a square.

        Raises:
            DataError: the size of the image differs from the annotation.
        """
        self.check_size(image, height, width)
        boxes = fit_boxes(self.objects.boxes, height, width, image_size)
        return FittedObjects(self.objects.moved(boxes), self)

    def check_size(self, image: Path, height: int, width: int) -> None:
        """Raise `DataError` if the size of the file `image` differs from the annotation."""
        if (height, width) != (self.height, self.width):
            raise DataError(
                f"{image}: is {height} x {width} px, but {self.source} says {self.height} x "
                f"{self.width} px; replace it with the image that was annotated, or correct height "
                "and width in the annotations"
            )


@dataclass(frozen=True, eq=False)
class FittedObjects:
    """The objects of a fitted image, and the annotation they come from."""

    objects: Objects
    """In px of the square."""
    own: Annotation


def fit_boxes(boxes: np.ndarray, height: int, width: int, image_size: int) -> np.ndarray:
    """Return where `boxes` [n, 4] of an image lie once it is fitted into a square."""
    scale, offset = _scale_and_offset(height, width, image_size)
    return boxes * scale + offset


def unfit_boxes(boxes: np.ndarray, height: int, width: int, image_size: int) -> np.ndarray:
    """Return where `boxes` [D, 4] in the square lie in the original image, cut to it."""
    scale, offset = _scale_and_offset(height, width, image_size)
    return ((boxes - offset) / scale).clip(0, np.array([width, height, width, height]))


def _scale_and_offset(height: int, width: int, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the shift of x, y, x and y, each [4]."""
    place = place_in_square(height, width, image_size)
    scale = np.array([place.width / width, place.height / height])
    offset = np.array([place.left, place.top])
    return np.tile(scale, 2), np.tile(offset, 2)
