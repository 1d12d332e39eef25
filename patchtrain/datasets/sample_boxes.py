"""Writes generated mosaics of handwritten digits in the layouts of data sets of objects.

Same arguments, same bytes. Each folder appears whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchtrain.datasets.mosaics import IS_MOSAIC
from patchtrain.datasets.sample_files import check_numbers, for_each, new_folder
from patchtrain.datasets.sample_mosaics import DigitMosaic, draw_mosaic
from patchtrain.datasets.soda import CLASS_NAMES as SODA_NAMES
from patchtrain.errors import ConfigError

_VAL_EVERY = 4
"""One of so many images is for validation."""

_JPEG_QUALITY = 90


@dataclass(frozen=True)
class _Layout:
    """Where the files of a data set lie, `{}` standing for the part, and what a digit becomes."""

    annotations: str
    images: str
    categories: Mapping[int, str]
    category_of: Callable[[int], int]
    is_ignored: Callable[[int], bool] = lambda digit: False


_MOSAIC = _Layout(
    annotations="annotations/instances_{}.json",
    images="{}",
    categories={digit + 1: str(digit) for digit in range(10)},
    category_of=lambda digit: digit + 1,
)
_SODA = _Layout(
    annotations="Annotations/{}.json",
    images="Images/{}",
    categories=dict(enumerate((*SODA_NAMES, "ignore"), 1)),
    category_of=lambda digit: digit or 10,
)
_TJU = _Layout(
    annotations="dhd_pedestrian/ped_traffic/annotations/dhd_pedestrian_traffic_{}.json",
    images="dhd_traffic/images/{}",
    categories={1: "pedestrian"},
    category_of=lambda digit: 1,
    is_ignored=lambda digit: digit == 0,
)


def write_mosaic_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated mosaics as the folder `out` in COCO's layout.

    `annotations/instances_train.json` with `train/`, and the same for val: every fourth image. All
    are squares of `image_size` px. The first images stay the same where `num_images` grows. The
    ten classes are the digits.

    Raises:
        ConfigError: a number out of range, or `out` is not empty or cannot be written.
    """
    _write(out, num_images, image_size, seed, _MOSAIC)


def write_soda_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write the same images in the layout of SODA-D; digits 1 to 9 stand for its classes and 0 for
    what is to be ignored. Raises as `write_mosaic_sample`.
    """
    _write(out, num_images, image_size, seed, _SODA)


def write_tju_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write the same images in the layout of TJU-DHD's pedestrians; every digit stands for one, 0
    for one to be ignored. Raises as `write_mosaic_sample`.
    """
    _write(out, num_images, image_size, seed, _TJU)


def _write(out: Path, num_images: int, image_size: int, seed: int, layout: _Layout) -> None:
    if num_images < 2:
        raise ConfigError(
            f"num_images={num_images} must be at least 2, one for training and one for "
            "validation; raise it"
        )
    check_numbers(num_images, image_size, seed)
    with new_folder(out) as folder:
        for number, part in enumerate(("train", "val")):
            images = folder / layout.images.format(part)
            images.mkdir(parents=True)
            indices = [i for i in range(num_images) if (i % _VAL_EVERY == 1) == (part == "val")]
            mosaics = for_each(
                indices,
                lambda index, images=images, number=number: _write_mosaic(  # type: ignore[misc]
                    images, index, image_size, seed, number
                ),
            )
            annotations = folder / layout.annotations.format(part)
            annotations.parent.mkdir(parents=True, exist_ok=True)
            described = _instances(zip(indices, mosaics, strict=True), image_size, layout)
            annotations.write_text(json.dumps(described))


def _write_mosaic(folder: Path, index: int, image_size: int, seed: int, part: int) -> DigitMosaic:
    """Write mosaic number `index`; return what is on it."""
    mosaic = draw_mosaic(np.random.default_rng([seed, index]), image_size, part)
    Image.fromarray(mosaic.image).save(folder / _file_name(index), quality=_JPEG_QUALITY)
    return mosaic


def _file_name(index: int) -> str:
    return f"{index:06}.jpg"


def _instances(
    mosaics: Iterable[tuple[int, DigitMosaic]], image_size: int, layout: _Layout
) -> dict[str, Any]:
    """Return what is on some mosaics as COCO writes it."""
    size = {"height": image_size, "width": image_size}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, mosaic in mosaics:
        images.append({"id": index, "file_name": _file_name(index), **size})
        columns = (mosaic.boxes.tolist(), mosaic.labels.tolist(), mosaic.areas.tolist())
        for (left, top, right, bottom), digit, area in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": layout.category_of(digit),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": area,
                    "iscrowd": 0,
                    "ignore": int(layout.is_ignored(digit)),
                }
            )
    return {
        "info": {"description": "generated mosaics of handwritten digits", IS_MOSAIC: True},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in layout.categories.items()],
    }
