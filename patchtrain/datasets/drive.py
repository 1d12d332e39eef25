"""DRIVE (retina photographs, vessels marked by hand), in its published layout or as train/test
folders of images and masks.

Published: `training/images/21_training.tif`, `training/1st_manual/21_manual1.gif`,
`training/mask/21_training_mask.gif`, and `test/` alike with `01_test.tif`. `1st_manual` has the
vessels; `mask` the field of view, outside of which pixels are ignored, if it is there. The second
observer (`2nd_manual`) is not read. Without `test/1st_manual`, as the challenge gives it away,
there is no test split. The image_id is `21_training`, `01_test`.

Folders: `train/image/0.png` and `train/mask/0.png`, of the same name but for the suffix, and
`test/` alike (passed over if it has no masks), without field of view. The image_id is `train_0`,
`test_0`.

Either way `test` is the data set's own and `val` is drawn from the training images (unless there
is a folder `val`), so that `test_fraction` must be 0 where there is a test split. The layout may
lie in a folder of `data_dir`.
"""

from __future__ import annotations

import re
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.folders import find_root, is_folder
from patchtrain.datasets.listing import Listing, MaskFolders, list_mask_folders, split_folders
from patchtrain.datasets.masks import ThresholdMask

CLASS_NAMES = ("background", "vessel")

_LAYOUT = (
    "DRIVE is a folder with training/images, training/1st_manual and test alike, or with "
    "train/image, train/mask and test alike"
)
_PUBLISHED = {"training": "train", "test": "test"}
"""Folder -> split."""

_ENDINGS = re.compile("(_(training|test))?(_manual1|_mask)?$")
"""What the names of an image, its vessels and its field of view differ in."""


def list_drive(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images in `data_dir` that have vessels marked.

    Raises:
        DataError: something is missing or inconsistent.
    """
    root = find_root(data_dir, lambda folder: bool(_folders(folder)), _LAYOUT)
    return list_mask_folders(_folders(root), ThresholdMask(), CLASS_NAMES, _LAYOUT)


def _folders(root: Path) -> list[MaskFolders]:
    """Return the folders of the layout that `root` has; none where it has neither."""
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
