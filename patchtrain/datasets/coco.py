"""Objects in COCO's layout, and mosaics of 36 images (the paper's protocol for COCO).

`annotations/instances_train2017.json` with the images in `train2017/`, the same for val and test;
the folder of annotations may be left out, and the names may end as they like
(`instances_train.json`, `train/`). Or `instances.json` with `images/`. The image_id is
`train_000000000009`: part, and the file's name without suffix. Parts that are there are the splits;
what is missing is drawn from train.

`coco_mosaic`: the images of each part, in an order drawn with `mosaic_seed`, 36 at a time on a
white canvas of 4096 px, each in the middle of its cell and, if it is larger, as large as the cell;
boxes move along. Images that fill no canvas are left out, but where a part has less than 36. The
image_id is `train_mosaic0003`. Images that were written as mosaics are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import Example
from patchtrain.datasets.boxes import Annotation, Objects
from patchtrain.datasets.coco_json import AnnotatedImage, Category, Instances, read_instances
from patchtrain.datasets.folders import check_data_dir, is_folder, names_in
from patchtrain.datasets.listing import FoundImage, Listing, checked_id, listing_of
from patchtrain.datasets.mosaics import CANVAS_PX, IS_MOSAIC, PER_SIDE, Mosaic, Tile, place_in_cell
from patchtrain.datasets.split import SPLITS
from patchtrain.errors import DataError

COCO_CLASSES = 80
SAMPLE_CLASSES = 10

_PER_MOSAIC = PER_SIDE**2
_LAYOUT = (
    "COCO's layout is annotations/instances_train2017.json with the images in train2017/, or "
    "instances.json with images/"
)


class Part(NamedTuple):
    """Images that belong together."""

    split: str | None
    annotations: Path
    images: Path


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes as the configuration has them; the annotations have their
    own.
    """
    of_sample = SAMPLE_CLASSES if config.data_dir is None else COCO_CLASSES
    return tuple(f"category {number}" for number in range(1, (config.num_classes or of_sample) + 1))


def list_coco(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images in `data_dir`.

    Raises:
        DataError: something is missing or inconsistent.
    """
    return list_parts(find_parts(data_dir), len(class_names(config)))


def list_coco_mosaic(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the mosaics that the images in `data_dir` make. Raises as `list_coco`."""
    parts, num_classes = find_parts(data_dir), len(class_names(config))
    return list_parts(parts, num_classes, mosaic_seed=config.mosaic_seed)


def list_parts(
    parts: Sequence[Part],
    num_classes: int,
    *,
    is_fixed: bool = False,
    ignored_names: frozenset[str] = frozenset(),
    mosaic_seed: int | None = None,
) -> Listing:
    """Return the images in `parts`.

    Args:
        num_classes: categories that they must have.
        is_fixed: whether this is the data set's own number, and not what the user says.
        ignored_names: see `read_instances`.
        mosaic_seed: makes mosaics of them; None: they stay single.

    Raises:
        DataError: something is missing or inconsistent.
    """
    found: list[FoundImage] = []
    first: tuple[Path, tuple[Category, ...]] | None = None
    for part in parts:
        instances = read_instances(part.annotations, ignored_names=ignored_names)
        _check_categories(part.annotations, instances.categories, num_classes, is_fixed, first)
        first = first or (part.annotations, instances.categories)
        if mosaic_seed is not None and not instances.info.get(IS_MOSAIC):
            its = mosaics_of(part, instances, mosaic_seed)
        else:
            its = [_single(part, image) for image in instances.images]
        found += [FoundImage(*each, part.split, part.annotations) for each in its]
    assert first is not None, "there are parts"
    names = tuple(category.name for category in first[1])
    return listing_of(found, names, tuple(category.number for category in first[1]))


def find_parts(data_dir: Path) -> list[Part]:
    """Return the parts of the data set in `data_dir`.

    Raises:
        DataError: there is none, or a file of annotations without its folder of images.
    """
    check_data_dir(data_dir, _LAYOUT)
    parts: list[Part] = []
    for folder in (data_dir / "annotations", data_dir):
        for name in names_in(folder, _LAYOUT) if is_folder(folder) else ():
            ending = name.removesuffix(".json").removeprefix("instances_")
            split = next((s for s in SPLITS if ending.startswith(s)), None)
            if name != f"instances_{ending}.json" or split is None:
                continue
            places = [data_dir / ending, data_dir / "images" / ending, data_dir / "images"]
            images = next((place for place in places if is_folder(place)), None)
            if images is None:
                raise DataError(
                    f"{folder / name}: its images are not in {places[0]}; {_LAYOUT}; put them there"
                )
            parts.append(Part(split, folder / name, images))
    taken = [part.split for part in parts]
    if len(set(taken)) < len(taken):
        names = ", ".join(part.annotations.name for part in parts)
        raise DataError(f"{data_dir}: has two files of one split ({names}); remove one of them")
    if not parts and (data_dir / "instances.json").is_file():
        return [Part(None, data_dir / "instances.json", data_dir / "images")]
    if not parts:
        raise DataError(f"{data_dir}: has another layout; {_LAYOUT}; correct data_dir")
    return parts


def _check_categories(
    path: Path,
    categories: tuple[Category, ...],
    num_wanted: int,
    is_fixed: bool,
    first: tuple[Path, tuple[Category, ...]] | None,
) -> None:
    if len(categories) != num_wanted:
        remedy = f"set num_classes={len(categories)}"
        if is_fixed:
            remedy = "restore it from the original"
        raise DataError(
            f"{path}: lists {len(categories)} categories, but num_classes={num_wanted}; {remedy}"
        )
    if first is not None and categories != first[1]:
        raise DataError(
            f"{path}: lists other categories than {first[0]}; give both files the same ids and "
            "names"
        )


def _single(part: Part, image: AnnotatedImage) -> tuple[str, Example | str]:
    path = part.images / image.file_name
    stem = Path(image.file_name).with_suffix("").as_posix().replace("/", "_")
    image_id = checked_id(stem if part.split is None else f"{part.split}_{stem}", path)
    if not path.is_file():
        return image_id, f"{path}: is listed in {part.annotations}, but is not there; put it there"
    return image_id, Example(image_id, path, image.annotation)


def mosaics_of(part: Part, instances: Instances, seed: int) -> list[tuple[str, Example | str]]:
    """Return the image_id of each mosaic of a part, with its example, or with the reason why it
    cannot be used.
    """
    images = instances.images
    order = np.random.default_rng([seed, SPLITS.index(part.split or "train")])
    shuffled = [images[number] for number in order.permutation(len(images))]
    num_mosaics = max(1, len(shuffled) // _PER_MOSAIC) if shuffled else 0
    found = []
    for number in range(num_mosaics):
        its = shuffled[number * _PER_MOSAIC : (number + 1) * _PER_MOSAIC]
        name = f"mosaic{number:04}"
        image_id = name if part.split is None else f"{part.split}_{name}"
        found.append((image_id, _mosaic(image_id, number, part, its)))
    return found


def _mosaic(
    image_id: str, number: int, part: Part, images: Sequence[AnnotatedImage]
) -> Example | str:
    tiles, objects, areas = [], [], []
    for place, image in enumerate(images):
        path, its = part.images / image.file_name, image.annotation
        if not path.is_file():
            return f"{path}: is listed in {part.annotations}, but is not there; put it there"
        box = place_in_cell(place, its.height, its.width, CANVAS_PX)
        scale = np.array([box.width / its.width, box.height / its.height])
        moved = its.objects.boxes * np.tile(scale, 2) + [box.left, box.top] * 2
        tiles.append(Tile(path, box, its))
        objects.append(its.objects.moved(moved))
        areas.append(its.areas * scale.prod())
    together = Objects(
        np.concatenate([each.boxes for each in objects]),
        np.concatenate([each.labels for each in objects]),
        np.concatenate([each.ignored for each in objects]),
    )
    source = part.annotations
    annotation = Annotation(together, np.concatenate(areas), CANVAS_PX, CANVAS_PX, source, number)
    mosaic = Mosaic(part.images / f"{image_id} (of {len(tiles)} images)", CANVAS_PX, tuple(tiles))
    return Example(image_id, mosaic, annotation)
