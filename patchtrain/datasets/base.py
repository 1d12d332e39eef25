"""What every data set gives to the trainer; knows nothing of any one data set's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from patchtrain.images import fit_square, open_image


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Attributes:
        image_id: its name in the data set.
        path: its file.
        target: number of its class, from 0.
    """

    image_id: str
    path: Path
    target: int


@dataclass(frozen=True, kw_only=True)
class ClassificationData:
    """A data set, checked and split; each split is sorted by image_id."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    class_names: tuple[str, ...]
    """Name of each target."""
    is_sample: bool
    """Whether the images are generated ones."""
    num_skipped: int
    """Images left out because they cannot be used."""
    data_dir: Path


class ImageDataset(Dataset[tuple[np.ndarray, int, int]]):
    """Examples as (uint8 image [image_size, image_size, 3], target, index).

    Opens a file per item and keeps none open, so loader processes can hold copies of it.
    """

    def __init__(self, examples: Sequence[Example], image_size: int) -> None:
        self.examples = tuple(examples)
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int]:
        """Return the example number `index`.

        Raises:
            DataError: the image cannot be read; names its file.
        """
        example = self.examples[index]
        with open_image(example.path) as source:
            return fit_square(source, self.image_size), example.target, index
