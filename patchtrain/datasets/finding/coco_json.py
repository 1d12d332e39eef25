"""Reads annotations as COCO writes them: instances in one JSON file. Opens no image.

Boxes that extend beyond their image are cut to it. Boxes without width or height (COCO itself has a
few) and boxes wholly outside are left out; a warning counts both. Negative and infinite boxes are
errors. If the area is 0 or missing, that of the box is used. Crowds, and objects marked `ignore`,
are ignored.

Shapes: n objects of an image.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchtrain.datasets.finding.tables import whole_number
from patchtrain.datasets.targets.boxes import ANY_CLASS, Annotation, Objects
from patchtrain.errors import DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Category:
    """A class of objects: its id in the file and its name."""

    number: int
    name: str


@dataclass(frozen=True)
class AnnotatedImage:
    """An image in a file of annotations."""

    file_name: str
    annotation: Annotation


@dataclass(frozen=True)
class Instances:
    """The content of a file of annotations."""

    images: tuple[AnnotatedImage, ...]
    """In the order of their ids."""
    categories: tuple[Category, ...]
    """In the order of their ids, which may have gaps; the first is class 0."""
    info: Mapping[str, Any]


def read_instances(path: Path, *, ignored_names: frozenset[str] = frozenset()) -> Instances:
    """Return the content of the file `path`.

    Args:
        path: a JSON file.
        ignored_names: categories that stand for regions to be ignored, not for classes.

    Raises:
        DataError: no such file, not JSON, or something is missing or inconsistent.
    """
    data = _load(path)
    listed = _categories(data["categories"], path)
    categories = tuple(each for each in listed if each.name not in ignored_names)
    if not categories:
        raise DataError(f"{path}: categories is empty; list at least one")
    class_of = {each.number: ANY_CLASS for each in listed}
    class_of |= {each.number: place for place, each in enumerate(categories)}
    sizes = _images(data["images"], path)
    by_image = _by_image(data["annotations"], sizes, class_of, path)
    images = [
        AnnotatedImage(name, _annotation(by_image[number], number, height, width, class_of, path))
        for number, (name, height, width) in sorted(sizes.items())
    ]
    _check_boxes(data["annotations"], sizes, path)
    num_left_out = len(data["annotations"]) - sum(len(i.annotation.objects) for i in images)
    num_cut = sum(_is_cut(r, *sizes[r["image_id"]][1:]) for r in data["annotations"])
    if num_left_out or num_cut:
        _log.warning(
            "%s: left out %d boxes without area in their image, cut %d that extend beyond it",
            path,
            num_left_out,
            num_cut,
        )
    info = data.get("info")
    return Instances(tuple(images), categories, info if isinstance(info, dict) else {})


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); put the annotations there"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); restore it from the original") from None
    if not isinstance(data, dict):
        raise DataError(
            f"{path}: holds no object with images, annotations and categories; write instances as "
            "in COCO"
        )
    for name in ("images", "annotations", "categories"):
        values = data.get(name)
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise DataError(
                f"{path}: has no list of {name}; write instances as in COCO (images, annotations, "
                "categories)"
            )
    return data


def _categories(records: Sequence[Mapping[str, Any]], path: Path) -> list[Category]:
    found: dict[int, Category] = {}
    for record in records:
        number = _whole(record, "id", "categories", path)
        name = str(record.get("name", number))
        if number in found:
            raise DataError(f"{path}: category id {number} is listed twice; give another one")
        found[number] = Category(number, name)
    if not found:
        raise DataError(f"{path}: categories is empty; list at least one")
    return [found[number] for number in sorted(found)]


def _images(records: Sequence[Mapping[str, Any]], path: Path) -> dict[int, tuple[str, int, int]]:
    """Return file name, height and width of each image by its id."""
    found: dict[int, tuple[str, int, int]] = {}
    for record in records:
        number = _whole(record, "id", "images", path)
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: image {number} has file_name {name!r}; name its file")
        height, width = (_whole(record, side, f"image {number}", path) for side in _SIDES)
        if min(height, width) < 1:
            raise DataError(f"{path}: image {number} is {height} x {width} px; correct its size")
        if number in found:
            raise DataError(f"{path}: image id {number} is listed twice; give another one")
        found[number] = (name, height, width)
    if not found:
        raise DataError(f"{path}: images is empty; list at least one")
    return found


_SIDES = ("height", "width")


def _by_image(
    records: Sequence[dict[str, Any]],
    images: Mapping[int, Any],
    categories: Mapping[int, int],
    path: Path,
) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    numbers: set[Any] = set()
    for record in records:
        number = record.get("id")
        if not isinstance(number, (int, str, type(None))):
            raise DataError(f"{path}: annotations has id {number!r}; give a whole number")
        if number is not None and number in numbers:
            raise DataError(
                f"{path}: annotation id {number} is listed twice; give each another id, or remove "
                "one"
            )
        numbers.add(number)
        image, category = record.get("image_id"), record.get("category_id")
        is_plain = type(image) is int and type(category) is int  # as nearly always
        if not is_plain:
            image, category = _id(image), _id(category)
        if image is None or image not in images:
            raise DataError(
                f"{path}: annotation {number} is of image_id {record.get('image_id')!r}, which is "
                "not in images; add the image, or remove the annotation"
            )
        if category is None or category not in categories:
            raise DataError(
                f"{path}: annotation {number} is of category_id {record.get('category_id')!r}, "
                "which categories does not list; add the category, or remove the annotation"
            )
        if not is_plain:
            record.update(image_id=image, category_id=category)
        found[image].append(record)
    return found


def _annotation(
    records: Sequence[Mapping[str, Any]],
    number: int,
    height: int,
    width: int,
    class_of: Mapping[int, int],
    path: Path,
) -> Annotation:
    boxes = np.array([_box(record, path) for record in records], np.float64).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    boxes = boxes.clip(0, [width, height, width, height])
    labels = np.array([class_of[record["category_id"]] for record in records], np.int64)
    marked = [any(_flag(record, name, path) for name in _IGNORE_FLAGS) for record in records]
    ignored = np.array(marked, bool) | (labels == ANY_CLASS)
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    areas = np.array([_area(r, s, path) for r, s in zip(records, sizes, strict=True)], np.float64)
    kept = np.flatnonzero(sizes > 0)
    objects = Objects(boxes.astype(np.float32), labels, ignored).only(kept)
    return Annotation(objects, areas[kept], height, width, path, number)


def _box(record: Mapping[str, Any], path: Path) -> list[float]:
    """Return left, top, width and height."""
    box = record.get("bbox")
    number = record.get("id")
    values = [_number(value) for value in box] if isinstance(box, list) else []
    if len(values) != 4 or not np.isfinite(values).all():
        raise DataError(
            f"{path}: annotation {number} has bbox {box!r}; give four numbers: left, top, width "
            "and height in px"
        )
    if min(values[2:]) < 0:
        raise DataError(
            f"{path}: annotation {number} has bbox {box!r}, of negative size; bbox is left, top, "
            "width and height in px: correct or remove it"
        )
    return values


_STICKING_OUT = 0.25
"""Share of boxes that reach out of their images from which on all are taken for corners."""


def _check_boxes(
    records: Sequence[Mapping[str, Any]], images: Mapping[int, tuple[str, int, int]], path: Path
) -> None:
    """Raise DataError if the boxes as a whole look like shares of the image, or like corners."""
    if not records:
        return
    boxes = np.array([record["bbox"] for record in records], np.float64)
    if boxes.max() <= 1 and np.any(boxes % 1 > 0):
        raise DataError(
            f"{path}: no number in the {len(boxes)} boxes is above 1, so they look like shares of "
            "the image; bbox is left, top, width and height in px: multiply by the image's size"
        )
    sizes = np.array([images[record["image_id"]][:0:-1] for record in records], np.float64)
    if np.any(boxes[:, 2:] <= boxes[:, :2]) or np.any(boxes[:, 2:] > sizes + 1):
        return
    reaches_out = np.any(boxes[:, :2] + boxes[:, 2:] > sizes + 1, axis=1)
    if reaches_out.mean() >= _STICKING_OUT:
        raise DataError(
            f"{path}: {reaches_out.sum()} of {len(boxes)} boxes reach out of their image as left, "
            "top, width and height, but none does as left, top, right and bottom; write width and "
            "height, in px, instead of right and bottom"
        )


def _is_cut(record: Mapping[str, Any], height: int, width: int) -> bool:
    """Return whether a box lies in its image, but extends beyond it by more than rounding."""
    left, top, box_width, box_height = map(float, record["bbox"])
    right, bottom = left + box_width, top + box_height
    lies_in = max(left, 0) < min(right, width) and max(top, 0) < min(bottom, height)
    return lies_in and (min(left, top) < -1 or right > width + 1 or bottom > height + 1)


def _area(record: Mapping[str, Any], size: float, path: Path) -> float:
    area = record.get("area")
    number = 0.0 if area is None else _number(area)
    if not 0 <= number < np.inf:
        raise DataError(
            f"{path}: annotation {record.get('id')} has area {area!r}; give its area in square px, "
            "or leave it out"
        )
    return number or size


_IGNORE_FLAGS = ("iscrowd", "ignore")


def _flag(record: Mapping[str, Any], name: str, path: Path) -> bool:
    value = record.get(name, 0)
    if not isinstance(value, (int, float, type(None))) or value not in (0, 1, None):
        raise DataError(f"{path}: annotation {record.get('id')} has {name} {value!r}; give 0 or 1")
    return bool(value)


def _number(value: object) -> float:
    """Return a number of the file; NaN for anything else, and for numbers too large to use."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.nan


def _whole(record: Mapping[str, Any], name: str, where: str, path: Path) -> int:
    value = record.get(name)
    number = _id(value)
    if number is None:
        raise DataError(f"{path}: {where} has {name} {value!r}; give a whole number")
    return number


def _id(value: object) -> int | None:
    """Return the whole number that is written as 1, 1.0 or "1"; None for anything else."""
    if isinstance(value, str):
        return whole_number(value)
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return None if isinstance(value, bool) or not is_whole else int(value)  # type: ignore[call-overload]
