"""`ImageData` and `ImageDataset`: what the trainer gets of a data set.

Shapes: S image_size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from patchtrain.datasets.example import Example, FittedTarget
from patchtrain.datasets.finding.listing import SPLITS
from patchtrain.datasets.loading.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A data set, checked and split; each split is sorted by image_id."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    class_names: tuple[str, ...]
    category_numbers: tuple[int, ...] = ()
    """See `Listing`."""
    is_sample: bool
    """Whether the images are generated."""
    num_skipped: int
    """Images left out, because they cannot be used or are copies."""
    num_copies: int = 0
    """Images left out because they have the pixels of another one (`drop_duplicates`)."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """image_id -> hash of what image and target hold; see `content_of`."""
    data_dir: Path

    @property
    def split_ids(self) -> dict[str, list[str]]:
        """The image_ids of each split."""
        return {split: [e.image_id for e in getattr(self, split)] for split in SPLITS}

    def listed(self) -> dict[str, list[str]]:
        """Return image_id -> split, and hash of what image and target hold."""
        ids = self.split_ids
        return {name: [split, self.contents[name]] for split in SPLITS for name in ids[split]}

    @property
    def identity(self) -> str | None:
        """A hash of names, splits, sizes and labels: equal for copies of the data in other places.
        None if what the images hold is not known.
        """
        if not self.contents:
            return None
        text = json.dumps([self.class_names, self.listed()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_split(self, split_ids: Mapping[str, Sequence[str]]) -> ImageData:
        """Return these images in other splits; those without one are left out."""
        examples = {e.image_id: e for split in SPLITS for e in getattr(self, split)}
        train, val, test = (tuple(examples[name] for name in split_ids[split]) for split in SPLITS)
        contents = {e.image_id: self.contents[e.image_id] for e in (*train, *val, *test)}
        return replace(self, train=train, val=val, test=test, contents=contents)

    def left_out(self) -> list[str]:
        """Return a line for each reason why images were left out, for the user."""
        unreadable = self.num_skipped - self.num_copies
        lines = [f"skipped {unreadable} images that cannot be read"] if unreadable else []
        if self.num_copies:
            lines.append(f"left out {self.num_copies} images with the pixels of another one")
        return lines


class ImageDataset(Dataset[tuple[np.ndarray, FittedTarget, int]]):
    """Examples as (uint8 image [S, S, 3], target, index); image and target as in `Fitted`.

    Opens files per item and keeps none open, so it can be copied to loader processes.
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
        """Return example number `index`.

        Raises:
            DataError: the image or its mask cannot be read; the message names the file.
        """
        example = self.examples[index]
        image, target, *_ = example.read(self.image_size)
        if self._augmentation is not None:
            image, target = self._augmentation(image, target, example.image_id)
        return image, target, index
