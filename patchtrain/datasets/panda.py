"""PANDA (prostate biopsies, ISUP grades 0 to 5) in its published layout.

`train.csv` with at least the columns image_id and isup_grade; `train_images/<image_id>.tiff`,
where .tif, .png and .jpg are accepted too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import ClassificationData, Example
from patchtrain.datasets.split import Assignment, draw_split, read_split
from patchtrain.datasets.tables import read_table
from patchtrain.datasets.verify import find_bad_images
from patchtrain.errors import DataError

GRADES = ("0", "1", "2", "3", "4", "5")
_MAX_ID_BYTES = 200

CLASS_NAMES = tuple(f"ISUP {grade}" for grade in GRADES)

_LAYOUT = "PANDA is a folder with train.csv and train_images/<image_id>.tiff"
_SUFFIXES = (".tiff", ".tif", ".png", ".jpg")

_log = logging.getLogger(__name__)


def load_panda(config: TrialConfig, data_dir: Path, is_sample: bool) -> ClassificationData:
    """Read, check and split the data set in `data_dir`.

    Every image is decoded once; with `split_file`, only the images that it lists.

    Raises:
        DataError: something is missing, damaged or inconsistent, or a split is empty.
    """
    listed = _read_labels(data_dir)
    assignment: Assignment | None = None
    if config.split_file is not None:
        split_path = Path(config.split_file).expanduser()
        assignment = read_split(split_path, (example.image_id for example in listed))
        listed = [example for example in listed if example.image_id in assignment]
    usable = _usable(config, data_dir, listed)
    if assignment is None:
        assignment = draw_split(
            usable, config.val_fraction, config.test_fraction, config.split_seed
        )
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for example in usable:
        parts[assignment[example.image_id]].append(example)
    _check_not_empty(config, data_dir, parts)
    return ClassificationData(
        train=tuple(parts["train"]),
        val=tuple(parts["val"]),
        test=tuple(parts["test"]),
        class_names=CLASS_NAMES,
        is_sample=is_sample,
        num_skipped=len(listed) - len(usable),
        data_dir=data_dir,
    )


def load_all_panda(config: TrialConfig, data_dir: Path, is_sample: bool) -> ClassificationData:
    """Read and check the data set in `data_dir`, all of it as `test`; split settings do not matter.

    Raises:
        DataError: something is missing, damaged or inconsistent.
    """
    listed = _read_labels(data_dir)
    usable = _usable(config, data_dir, listed)
    return ClassificationData(
        train=(),
        val=(),
        test=tuple(usable),
        class_names=CLASS_NAMES,
        is_sample=is_sample,
        num_skipped=len(listed) - len(usable),
        data_dir=data_dir,
    )


def _read_labels(data_dir: Path) -> list[Example]:
    """Return the images that `train.csv` lists, sorted by image_id; whether they exist is open."""
    if not data_dir.is_dir():
        raise DataError(f"data_dir={data_dir}: is no folder; {_LAYOUT}; correct data_dir")
    path = data_dir / "train.csv"
    if not os.path.lexists(path):
        raise DataError(f"{path}: does not exist; {_LAYOUT}; put it there, or correct data_dir")
    suffixes = _suffixes_by_stem(data_dir / "train_images")
    examples: dict[str, Example] = {}
    for line, values in read_table(path, ("image_id", "isup_grade")):
        image_id, grade = values["image_id"], values["isup_grade"]
        where = f"{path} line {line}: image_id {image_id!r}"
        if not _is_file_name(image_id):
            raise DataError(
                f"{where} must be a plain file name of at most {_MAX_ID_BYTES} bytes, without "
                "folders; correct it"
            )
        if image_id in examples:
            raise DataError(f"{where} is listed twice; remove one of the lines")
        if grade not in GRADES:
            raise DataError(
                f"{where} has isup_grade {grade!r}; it must be a whole number from 0 to 5; "
                "correct or remove the line"
            )
        suffix = suffixes.get(image_id, _SUFFIXES[0])
        image_path = data_dir / "train_images" / (image_id + suffix)
        examples[image_id] = Example(image_id, image_path, int(grade))
    return [examples[image_id] for image_id in sorted(examples)]


def _suffixes_by_stem(folder: Path) -> dict[str, str]:
    """Return stem -> suffix of the images in `folder`; the preferred of several."""
    if not folder.is_dir():
        raise DataError(f"{folder}: does not exist; {_LAYOUT}; put the images there")
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read ({error.strerror}); correct its permissions"
        ) from None
    return {
        name.removesuffix(suffix): suffix
        for suffix in reversed(_SUFFIXES)
        for name in names
        if name.endswith(suffix)
    }


def _is_file_name(image_id: str) -> bool:
    if image_id in ("", ".", "..") or len(image_id.encode()) > _MAX_ID_BYTES:
        return False
    return image_id.isprintable() and not set(image_id) & set("/\\")


def _usable(config: TrialConfig, data_dir: Path, listed: Sequence[Example]) -> list[Example]:
    """Return the images that can be trained on.

    Raises:
        DataError: some cannot and are not to be skipped, or none can.
    """
    bad = find_bad_images(listed, config.image_size, config.patch_size)
    if not bad:
        return list(listed)
    first = next(iter(bad.values()))
    if not config.skip_bad_images:
        raise DataError(
            f"{first} ({len(bad)} of {len(listed)} images cannot be used; "
            "--set skip_bad_images=true goes on without them)"
        )
    if len(bad) == len(listed):
        raise DataError(f"{data_dir}: none of its {len(listed)} images can be used; first {first}")
    for reason in bad.values():
        _log.info("skipped: %s", reason)
    return [example for example in listed if example.image_id not in bad]


def _check_not_empty(config: TrialConfig, data_dir: Path, parts: dict[str, list[Example]]) -> None:
    needed = ["train", "val"]
    if config.split_file is None and config.test_fraction > 0:
        needed.append("test")
    empty = [name for name in needed if not parts[name]]
    if not empty:
        return
    counts = ", ".join(f"{name} {len(examples)}" for name, examples in parts.items())
    if config.split_file is not None:
        remedy = f"list {empty[0]} images in split_file={config.split_file}"
    else:
        remedy = "add images: a grade gives to val or test only what is left after one for train"
    raise DataError(f"{data_dir}: no images in {empty[0]} (images: {counts}); {remedy}")
