"""DRIVE (retina photographs, vessels marked by hand), in its published layout or as train/test
folders of images and masks.

Published: `training/images/21_training.tif`, `training/1st_manual/21_manual1.gif`,
`training/mask/21_training_mask.gif`, and `test/` alike with `01_test.tif`. `1st_manual` has the
vessels; `mask`, which may be missing, the field of view: pixels outside are ignored. The second
observer (`2nd_manual`) is not read. Without `test/1st_manual`, as published by the challenge, there
is no test split. The image_id is `21_training`, `01_test`.

Folders: `train/image/0.png` and `train/mask/0.png` with the same name before the suffix, and
`test/` alike (ignored if it has no masks), without field of view. The image_id is `train_0`,
`test_0`.

Either way `test` is the data set's own, so `test_fraction` must be 0 if there is one; `val` is
drawn from the training images unless there is a folder `val`. All of it may lie in a folder of
`data_dir`.
"""

from __future__ import annotations

import re
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.folders import find_root, is_folder
from patchtrain.datasets.finding.listing import Listing
from patchtrain.datasets.finding.mask_folders import (
    MaskFolders,
    list_mask_folders,
    split_folders,
)
from patchtrain.datasets.targets.masks import ThresholdMask

_CLASS_NAMES = ("background", "vessel")

_PUBLISHED = {"training": "train", "test": "test"}
"""Folder -> split."""

_ENDINGS = re.compile("(_(training|test))?(_manual1|_mask)?$")
"""The part of names in which an image, its vessels and its field of view differ."""


class Drive(DataSet):
    """DRIVE."""

    layout = (
        "DRIVE's training/images, training/1st_manual and test alike, or train/image, train/mask "
        "and test alike"
    )

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return background and vessel."""
        return _CLASS_NAMES

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images in `data_dir` that have vessels marked."""
        root = find_root(data_dir, lambda folder: bool(_folders(folder)), self.layout)
        return list_mask_folders(_folders(root), ThresholdMask(), _CLASS_NAMES, self.layout)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated photographs of retinas."""
        from patchtrain.datasets.samples import drive

        drive.write_sample(out, num_images, image_size, seed)


def _folders(root: Path) -> list[MaskFolders]:
    """Return the folders of the layout that `root` has; none if it has neither."""
    if is_folder(root / "training" / "images"):
        return [
            _published(root / name, split)
            for name, split in _PUBLISHED.items()
            if name == "training" or is_folder(root / name / "1st_manual")
        ]
    if not is_folder(root / "train" / "image"):
        return []
    return split_folders(root, "image", "mask")


def _published(folder: Path, split: str) -> MaskFolders:
    views = folder / "mask"
    return MaskFolders(
        images=folder / "images",
        masks=folder / "1st_manual",
        field_of_view=views if is_folder(views) else None,
        name_of=lambda name: _ENDINGS.sub("", name, count=1),
        id_of=f"{{}}_{folder.name}".format,
        part=split,
    )
