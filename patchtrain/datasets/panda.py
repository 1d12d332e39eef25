"""PANDA (prostate biopsies, ISUP grades 0 to 5) in the published layout.

`train.csv` with at least the columns image_id and isup_grade; `train_images/<image_id>.tiff`, or
the same name with another suffix of an image, in upper or lower case.
"""

from __future__ import annotations

import os
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.folders import check_data_dir, names_in
from patchtrain.datasets.finding.listing import Listing, check_plain_id
from patchtrain.datasets.finding.names import match_names
from patchtrain.datasets.finding.tables import read_table, whole_number
from patchtrain.errors import DataError
from patchtrain.images import SUFFIXES

_GRADES = ("0", "1", "2", "3", "4", "5")
_CLASS_NAMES = tuple(f"ISUP {grade}" for grade in _GRADES)
_LAYOUT = "PANDA's train.csv and train_images/<image_id>.tiff"
_SUFFIXES = (".tiff", ".tif", ".png", ".jpg", ".jpeg")
"""Of several files of one name the first counts; then all other suffixes of images."""


class Panda(DataSet):
    """PANDA."""

    layout = _LAYOUT

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the ISUP grades."""
        return _CLASS_NAMES

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images that `train.csv` lists."""
        return Listing(examples=tuple(_read_labels(data_dir)), class_names=_CLASS_NAMES)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated slides."""
        from patchtrain.datasets.samples import panda

        panda.write_sample(out, num_images, image_size, seed)


def _read_labels(data_dir: Path) -> list[Example]:
    """Return the images that `train.csv` lists, sorted by image_id, whether they exist or not."""
    check_data_dir(data_dir, _LAYOUT)
    path = data_dir / "train.csv"
    if not os.path.lexists(path):
        raise DataError(
            f"{path}: does not exist; expected {_LAYOUT}; put it there, or correct data_dir"
        )
    folder = data_dir / "train_images"
    files = _files_by_stem(folder)
    grades = _grades(path)
    meant = match_names(grades, files)
    return [
        Example(
            image_id,
            folder / (files[meant[image_id]] if image_id in meant else image_id + _SUFFIXES[0]),
            grades[image_id],
        )
        for image_id in sorted(grades)
    ]


def _grades(path: Path) -> dict[str, int]:
    """Return image_id -> grade of the images that the table `path` lists."""
    grades: dict[str, int] = {}
    for line, values in read_table(path, ("image_id", "isup_grade")):
        image_id, grade = values["image_id"], values["isup_grade"]
        where = f"{path} line {line}: image_id {image_id!r}"
        check_plain_id(image_id, where)
        if image_id in grades:
            raise DataError(f"{where} is listed twice; remove one of the lines")
        number = whole_number(grade)
        if number is None or str(number) not in _GRADES:
            raise DataError(
                f"{where} has isup_grade {grade!r}; it must be a whole number from 0 to 5; "
                "correct or remove the line"
            )
        grades[image_id] = number
    return grades


def _files_by_stem(folder: Path) -> dict[str, str]:
    """Return stem -> name of the images in `folder`, of several the first as `_SUFFIXES` has it."""
    names = [name for name in names_in(folder, _LAYOUT) if Path(name).suffix.lower() in SUFFIXES]
    order = {suffix: place for place, suffix in enumerate(_SUFFIXES)}
    names.sort(key=lambda name: (order.get(Path(name).suffix.lower(), len(order)), name))
    return {Path(name).stem: name for name in reversed(names)}
