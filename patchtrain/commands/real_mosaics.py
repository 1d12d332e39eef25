"""Writes mosaics of real images as files, for tools that cannot put them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from patchtrain.datasets.coco import find_parts
from patchtrain.datasets.coco_mosaic import mosaics_of
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.coco_json import Category, read_instances
from patchtrain.datasets.mosaics import IS_MOSAIC
from patchtrain.datasets.samples.files import new_folder
from patchtrain.datasets.targets.boxes import Annotation
from patchtrain.errors import DataError

_JPEG_QUALITY = 95


def write_mosaics(data_dir: Path, out: Path, seed: int) -> int:
    """Write the mosaics that `dataset: coco_mosaic` makes of the images in `data_dir` as the folder
    `out`, in the layout of COCO; return their number. `coco_mosaic` reads them back as they are.

    Args:
        data_dir: images in the layout of COCO.
        out: new or empty folder.
        seed: see `TrialConfig.mosaic_seed`.

    Raises:
        DataError: something in `data_dir` is missing, damaged or inconsistent.
        ConfigError: `out` is not empty or cannot be written.
    """
    num_written = 0
    with new_folder(out) as folder:
        (folder / "annotations").mkdir()
        for part in find_parts(data_dir):
            name = part.split or "train"
            (folder / name).mkdir()
            instances = read_instances(part.annotations)
            examples = []
            for _, example in mosaics_of(part, instances, seed):
                if isinstance(example, str):
                    raise DataError(example)
                examples.append(example)
                _write_image(example, folder / name)
            num_written += len(examples)
            (folder / "annotations" / f"instances_{name}.json").write_text(
                json.dumps(_described(examples, instances.categories))
            )
    return num_written


def _write_image(example: Example, folder: Path) -> None:
    with example.open() as source:
        pixels = source.read((0, 0, source.height, source.width))
    Image.fromarray(pixels).save(folder / f"{example.image_id}.jpg", quality=_JPEG_QUALITY)


def _described(examples: list[Example], categories: tuple[Category, ...]) -> dict[str, Any]:
    """Return the annotations of the mosaics in the format of COCO."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for example in examples:
        own = example.target
        assert isinstance(own, Annotation)
        images.append(
            {
                "id": own.number,
                "file_name": f"{example.image_id}.jpg",
                "height": own.height,
                "width": own.width,
            }
        )
        objects = own.objects
        columns = (objects.boxes.tolist(), objects.labels, objects.ignored, own.areas)
        for (left, top, right, bottom), label, ignored, area in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": own.number,
                    "category_id": categories[label].number,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": float(area),
                    "iscrowd": int(ignored),
                }
            )
    return {
        "info": {"description": "mosaics of 36 images", IS_MOSAIC: True},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": each.number, "name": each.name} for each in categories],
    }
