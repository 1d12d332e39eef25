"""Any folder of images with a folder of masks: segmentation of one's own data.

`images/a.jpg` and `masks/a.png`, of the same name but for the suffix, each mask of the size of its
image; the image_id is `a`. Or the two in folders `train`, `val` and `test`, which then are the
splits, with image_ids such as `train_a`; a `test` without masks is passed over. What is missing of
val and test is drawn from train (test only where `test_fraction` asks for it; for a split that has
its folder, `val_fraction` does not count and `test_fraction` must be 0).

What a mask means:

- with `classes.csv` (columns name and color, `#RRGGBB`): colours, numbered as listed; pixels of a
  colour that is named ignore, ignored, unlabeled, unlabelled or void are ignored. `num_classes`
  must be the number of the other rows;
- two classes (`num_classes` is 2 or not given): bright pixels are the class, others background;
- more: greys, or indices of a palette, are class numbers from 0; 255 is ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.folders import check_data_dir, is_folder
from patchtrain.datasets.listing import Listing, MaskFolders, list_mask_folders, split_folders
from patchtrain.datasets.masks import (
    IGNORED,
    Colour,
    ColourMask,
    MaskReader,
    NumberMask,
    ThresholdMask,
    parse_colour,
)
from patchtrain.datasets.tables import read_table
from patchtrain.errors import DataError

_IGNORED_NAMES = frozenset({"ignore", "ignored", "unlabeled", "unlabelled", "void"})

_LAYOUT = (
    "image_masks is a folder with images/ and masks/, or with these two in train/, and if wanted "
    "in val/ and test/"
)


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes as the configuration has them; `classes.csv` has its own."""
    if config.num_classes in (None, 2):
        return ("background", "foreground")
    return tuple(f"class {number}" for number in range(config.num_classes))


def list_image_masks(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images in `data_dir`.

    Raises:
        DataError: something is missing or inconsistent.
    """
    check_data_dir(data_dir, _LAYOUT)
    folders = _folders(data_dir)
    names = class_names(config)
    reader: MaskReader
    table = data_dir / "classes.csv"
    if os.path.lexists(table):
        names, reader = _read_classes(table, len(names))
    else:
        reader = ThresholdMask() if len(names) == 2 else NumberMask(len(names))
    return list_mask_folders(folders, reader, names, _LAYOUT)


def _folders(data_dir: Path) -> list[MaskFolders]:
    by_split = split_folders(data_dir, "images", "masks")
    if not by_split:
        return [MaskFolders(images=data_dir / "images", masks=data_dir / "masks")]
    if is_folder(data_dir / "images"):
        raise DataError(
            f"{data_dir}: has both images/ and {by_split[0].part}/images/, so it is open which are "
            "meant; remove or rename one of them"
        )
    return by_split


def _read_classes(path: Path, num_classes: int) -> tuple[tuple[str, ...], ColourMask]:
    """Return the names of the classes in the table `path`, and how the masks are read.

    Raises:
        DataError: no such table, no colour, a name or colour twice, or not `num_classes` classes.
    """
    names: list[str] = []
    colours: dict[Colour, int] = {}
    for line, values in read_table(path, ("name", "color")):
        name, colour = values["name"], parse_colour(values["color"])
        where = f"{path} line {line}:"
        if colour is None:
            raise DataError(f"{where} color {values['color']!r} is none; write it as #RRGGBB")
        if colour in colours:
            raise DataError(f"{where} color {values['color']!r} is listed twice; remove one line")
        if name.lower() in _IGNORED_NAMES:
            colours[colour] = IGNORED
        elif name in ("", *names):
            raise DataError(f"{where} name {name!r} is empty or listed twice; give another one")
        else:
            colours[colour] = len(names)
            names.append(name)
    if len(names) != num_classes:
        raise DataError(
            f"{path}: lists {len(names)} classes, but num_classes={num_classes}; "
            + (f"set num_classes={len(names)}" if len(names) > 1 else "list at least two")
        )
    return tuple(names), ColourMask(tuple(colours.items()))
