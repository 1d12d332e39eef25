"""Any folder of images with a folder of masks: segmentation of your own data.

`images/a.jpg` and `masks/a.png` with the same name before the suffix, each mask as large as its
image; the image_id is `a`. Or these two folders in `train`, `val` and `test`, which are the splits
then, with image_ids such as `train_a`; a `test` without masks is ignored. A missing val or test is
drawn from train (test only if `test_fraction` asks for it). If there is a folder `val`,
`val_fraction` is ignored; if there is a folder `test`, `test_fraction` must be 0.

What the pixels of a mask mean:

- with `classes.csv` (columns name and color, `#RRGGBB`): classes by colour, numbered as listed; a
  colour named ignore, ignored, unlabeled, unlabelled or void is ignored. `num_classes` must be the
  number of the other rows;
- two classes (`num_classes` is 2 or not given): bright pixels are the class, others background;
- more: greys, or palette indices, are class numbers from 0; 255 is ignored.
"""

from __future__ import annotations

import os
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.folders import check_data_dir, is_folder
from patchtrain.datasets.finding.listing import Listing
from patchtrain.datasets.finding.mask_folders import (
    MaskFolders,
    list_mask_folders,
    split_folders,
)
from patchtrain.datasets.finding.tables import read_table
from patchtrain.datasets.targets.masks import (
    IGNORED,
    Colour,
    ColourMask,
    MaskReader,
    NumberMask,
    ThresholdMask,
    parse_colour,
)
from patchtrain.errors import DataError

_IGNORED_NAMES = frozenset({"ignore", "ignored", "unlabeled", "unlabelled", "void"})


class ImageMasks(DataSet):
    """Any images with masks."""

    layout = "images/ and masks/, or these two in train/ and, if wanted, in val/ and test/"

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return numbered names, or background and foreground; `classes.csv` has its own."""
        if config.num_classes in (None, 2):
            return ("background", "foreground")
        return tuple(f"class {number}" for number in range(config.num_classes))

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images in `data_dir`."""
        check_data_dir(data_dir, self.layout)
        folders = _folders(data_dir)
        names = self.class_names(config)
        reader: MaskReader
        table = data_dir / "classes.csv"
        if os.path.lexists(table):
            names, reader = _read_classes(table, len(names))
        else:
            reader = ThresholdMask() if len(names) == 2 else NumberMask(len(names))
        return list_mask_folders(folders, reader, names, self.layout)


def _folders(data_dir: Path) -> list[MaskFolders]:
    by_split = split_folders(data_dir, "images", "masks")
    if not by_split:
        return [MaskFolders(images=data_dir / "images", masks=data_dir / "masks")]
    if is_folder(data_dir / "images"):
        raise DataError(
            f"{data_dir}: has both images/ and {by_split[0].part}/images/, so which are "
            "meant is unclear; remove or rename one of them"
        )
    return by_split


def _read_classes(path: Path, num_classes: int) -> tuple[tuple[str, ...], ColourMask]:
    """Return the names of the classes in the table `path`, and the reader of masks.

    Raises:
        DataError: no such table, not a colour, a name or colour is listed twice, or the number of
            classes is not `num_classes`.
    """
    names: list[str] = []
    colours: dict[Colour, int] = {}
    for line, values in read_table(path, ("name", "color")):
        name, colour = values["name"], parse_colour(values["color"])
        where = f"{path} line {line}:"
        if colour is None:
            raise DataError(
                f"{where} color {values['color']!r} is not a color; write it as #RRGGBB"
            )
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
