"""Writes generated mosaics of handwritten digits, annotated as COCO does it, in any folder layout.

`digits` draws them; `coco_mosaic`, `soda` and `tju` say where the files go.
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
from patchtrain.datasets.samples.digits import DigitMosaic, draw_mosaic
from patchtrain.datasets.samples.files import JPEG_QUALITY, check_numbers, for_each, new_folder
from patchtrain.errors import ConfigError

_VAL_EVERY = 4
"""Every fourth image is for validation."""


@dataclass(frozen=True)
class DigitLayout:
    """Where files go, with `{}` for the part (train or val), and what category a digit gets."""

    annotations: str
    images: str
    categories: Mapping[int, str]
    category_of: Callable[[int], int]
    is_ignored: Callable[[int], bool] = lambda digit: False


def write_digits(
    out: Path, num_images: int, image_size: int, seed: int, layout: DigitLayout
) -> None:
    """Write generated mosaics as the folder `out`.

    Two parts, train and val (every fourth image), each with a JSON file of annotations. All images
    are squares of `image_size` px. A larger `num_images` keeps the first images.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
    """
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
    """Write mosaic number `index` and return it."""
    mosaic = draw_mosaic(np.random.default_rng([seed, index]), image_size, part)
    Image.fromarray(mosaic.image).save(folder / _file_name(index), quality=JPEG_QUALITY)
    return mosaic


def _file_name(index: int) -> str:
    return f"{index:06}.jpg"


def _instances(
    mosaics: Iterable[tuple[int, DigitMosaic]], image_size: int, layout: DigitLayout
) -> dict[str, Any]:
    """Return the annotations of the mosaics in the format of COCO."""
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
