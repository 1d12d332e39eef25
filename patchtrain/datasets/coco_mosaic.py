"""Mosaics of 36 images in the layout of COCO: how the paper makes large images of small ones.

The images of each part, in an order drawn with `mosaic_seed`, 36 at a time on a white canvas of
4096 px, each in the middle of its cell and made smaller if it is larger than the cell; boxes move
along. Images that do not fill a whole canvas are left out, unless the part has fewer than 36. The
image_id is `train_mosaic0003`. Images that were written as mosaics are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from patchtrain.config import TrialConfig
from patchtrain.datasets.coco import Coco, find_parts
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.coco_json import AnnotatedImage, Instances
from patchtrain.datasets.finding.coco_parts import (
    Found,
    Part,
    list_parts,
    not_there,
    single_images,
)
from patchtrain.datasets.finding.listing import SPLITS, Listing
from patchtrain.datasets.mosaics import CANVAS_PX, IS_MOSAIC, PER_SIDE, Mosaic, Tile, place_in_cell
from patchtrain.datasets.targets.boxes import Annotation, Objects

_PER_MOSAIC = PER_SIDE**2


class CocoMosaic(Coco):
    """Mosaics of images that are annotated as in COCO."""

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the mosaics of the images in `data_dir`."""
        return list_parts(
            find_parts(data_dir),
            len(self.class_names(config)),
            images_of=partial(_mosaics_or_images, seed=config.mosaic_seed),
        )

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated mosaics of handwritten digits."""
        from patchtrain.datasets.samples import coco_mosaic

        coco_mosaic.write_sample(out, num_images, image_size, seed)


def _mosaics_or_images(part: Part, instances: Instances, seed: int) -> Found:
    if instances.info.get(IS_MOSAIC):
        return single_images(part, instances)
    return mosaics_of(part, instances, seed)


def mosaics_of(part: Part, instances: Instances, seed: int) -> Found:
    """Return the mosaics of the images of a part."""
    images = instances.images
    order = np.random.default_rng([seed, SPLITS.index(part.split or "train")])
    shuffled = [images[number] for number in order.permutation(len(images))]
    num_mosaics = max(1, len(shuffled) // _PER_MOSAIC) if shuffled else 0
    found: Found = []
    for number in range(num_mosaics):
        members = shuffled[number * _PER_MOSAIC : (number + 1) * _PER_MOSAIC]
        name = f"mosaic{number:04}"
        image_id = name if part.split is None else f"{part.split}_{name}"
        found.append((image_id, _mosaic(image_id, number, part, members)))
    return found


def _mosaic(
    image_id: str, number: int, part: Part, images: Sequence[AnnotatedImage]
) -> Example | str:
    tiles, objects, areas = [], [], []
    for place, image in enumerate(images):
        path, annotation = part.images / image.file_name, image.annotation
        if not path.is_file():
            return not_there(path, part)
        box = place_in_cell(place, annotation.height, annotation.width, CANVAS_PX)
        scale = np.array([box.width / annotation.width, box.height / annotation.height])
        moved = annotation.objects.boxes * np.tile(scale, 2) + [box.left, box.top] * 2
        tiles.append(Tile(path, box, annotation))
        objects.append(annotation.objects.moved(moved))
        areas.append(annotation.areas * scale.prod())
    together = Objects(
        np.concatenate([each.boxes for each in objects]),
        np.concatenate([each.labels for each in objects]),
        np.concatenate([each.ignored for each in objects]),
    )
    source = part.annotations
    whole = Annotation(together, np.concatenate(areas), CANVAS_PX, CANVAS_PX, source, number)
    mosaic = Mosaic(part.images / f"{image_id} (of {len(tiles)} images)", CANVAS_PX, tuple(tiles))
    return Example(image_id, mosaic, whole)
