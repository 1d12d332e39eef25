"""What every data set gives to the trainer; knows nothing of any one data set's files.

Shapes: S image_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from patchtrain.datasets.augment import Augmentation
from patchtrain.datasets.boxes import Annotation, FittedObjects
from patchtrain.datasets.masks import IGNORED, MaskFiles, check_same_size, check_upright
from patchtrain.datasets.mosaics import Mosaic
from patchtrain.images import ImageSource, fit_labels, fit_square, open_image

Target = int | MaskFiles | Annotation
"""Number of a class, from 0, where the class of each pixel stands, or the objects."""

FittedTarget = int | np.ndarray | FittedObjects
"""The same, fitted like the image: a mask is uint8 [S, S] of class numbers, with `masks.IGNORED`
where nothing is to be learned."""


class Fitted(NamedTuple):
    """An example as the trainer sees it, and the size in px that its image has in the file."""

    image: np.ndarray
    """uint8 [S, S, 3]."""
    target: FittedTarget
    height: int
    width: int


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
        image_id: its name in the data set, fit to be the name of a file.
        image: its file, or several that make one image.
        target: what is to be predicted.
    """

    image_id: str
    image: Path | Mosaic
    target: Target

    @property
    def path(self) -> Path:
        """Its file; of a mosaic what stands for it in messages."""
        return self.image.path if isinstance(self.image, Mosaic) else self.image

    @property
    def stratum(self) -> int:
        """What splits draw evenly from: the class, where an image has one."""
        return self.target if isinstance(self.target, int) else 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that are read, the image first."""
        images = self.image.paths if isinstance(self.image, Mosaic) else (self.image,)
        return images if isinstance(self.target, int) else (*images, *self.target.paths)

    def open(self) -> ImageSource:
        """Return the open image, to be closed.

        Raises:
            DataError: it cannot be opened; names the file.
        """
        return self.image.open() if isinstance(self.image, Mosaic) else open_image(self.image)

    def read(self, image_size: int) -> Fitted:
        """Return image and target, fitted alike.

        Raises:
            DataError: a file cannot be read, the mask is not of the image's size, or one of the two
                is turned by its orientation tag; names it.
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


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set, checked and split; each split is sorted by image_id."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    class_names: tuple[str, ...]
    """Name of each class."""
    category_numbers: tuple[int, ...] = ()
    """See `Listing`."""
    is_sample: bool
    """Whether the images are generated ones."""
    num_skipped: int
    """Images left out because they cannot be used."""
    data_dir: Path


class ImageDataset(Dataset[tuple[np.ndarray, FittedTarget, int]]):
    """Examples as (uint8 image [S, S, 3], target, index), image and target as `Fitted` has them.

    Opens files per item and keeps none open, so loader processes can hold copies of it.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        image_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.examples = tuple(examples)
        self.image_size = image_size
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, FittedTarget, int]:
        """Return the example number `index`.

        Raises:
            DataError: the image or its mask cannot be read; names its file.
        """
        example = self.examples[index]
        image, target, *_ = example.read(self.image_size)
        if self._augmentation is not None:
            image, target = self._augmentation(image, target, example.image_id)
        return image, target, index
