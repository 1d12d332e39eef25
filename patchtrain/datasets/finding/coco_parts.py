"""Lists images whose objects are annotated as in COCO; opens none of them.

Shared by all data sets that are annotated so; each says which parts it has and where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.coco_json import (
    AnnotatedImage,
    Category,
    Instances,
    read_instances,
)
from patchtrain.datasets.finding.folders import is_folder
from patchtrain.datasets.finding.listing import FoundImage, Listing, checked_id, listing_of
from patchtrain.datasets.finding.names import match_names, nearly
from patchtrain.errors import DataError

Found = list[tuple[str, Example | str]]
"""image_id of each image with its example, or with the reason why it cannot be used."""


class Part(NamedTuple):
    """A file of annotations and its folder of images."""

    split: str | None
    annotations: Path
    images: Path


def single_images(part: Part, instances: Instances) -> Found:
    """Return the images of a part, each by itself."""
    return [_single(part, image) for image in instances.images]


def list_parts(
    parts: Sequence[Part],
    num_classes: int,
    *,
    is_fixed: bool = False,
    ignored_names: frozenset[str] = frozenset(),
    images_of: Callable[[Part, Instances], Found] = single_images,
) -> Listing:
    """Return the images in `parts`, of which there is at least one.

    Args:
        parts: where the files are.
        num_classes: number of categories that each part must have.
        is_fixed: whether the data set always has this number; otherwise it is `num_classes` of the
            configuration.
        ignored_names: see `read_instances`.
        images_of: makes images of what is annotated.

    Raises:
        DataError: something is missing or inconsistent.
    """
    found: list[FoundImage] = []
    first: tuple[Path, tuple[Category, ...]] | None = None
    for part in parts:
        instances = read_instances(part.annotations, ignored_names=ignored_names)
        _check_categories(part.annotations, instances.categories, num_classes, is_fixed, first)
        first = first or (part.annotations, instances.categories)
        images = images_of(part, located(part, instances))
        found += [FoundImage(*image, part.split, part.annotations) for image in images]
    assert first is not None, "there are parts"
    names = tuple(category.name for category in first[1])
    return listing_of(found, names, tuple(category.number for category in first[1]))


def located(part: Part, instances: Instances) -> Instances:
    """Return `instances` with the names that the files in `part.images` really have.

    Names are kept if there is such a file. Others may have Windows' backslashes, or differ in a way
    in which programs write names (`match_names`).
    """
    written = [image.file_name for image in instances.images]
    lost = {name for name in written if not (part.images / name).is_file()}
    if not lost:
        return instances
    slashed = {name: PurePosixPath(name.replace("\\", "/")) for name in written}
    names: dict[str, str] = {}
    for folder in {slashed[name].parent for name in lost}:
        wanted = {slashed[name].name: name for name in written if slashed[name].parent == folder}
        place = part.images / folder
        there = {path.name for path in place.iterdir()} if is_folder(place) else set()
        for ours, theirs in match_names(wanted, there).items():
            if wanted[ours] in lost:
                names[wanted[ours]] = str(folder / theirs)
    images = (replace(i, file_name=names.get(i.file_name, i.file_name)) for i in instances.images)
    return replace(instances, images=tuple(images))


def not_there(path: Path, part: Part) -> str:
    """Return why an image cannot be used whose file is missing."""
    there = [other.name for other in path.parent.iterdir()] if is_folder(path.parent) else []
    near = nearly(path.name, there)
    return f"{path}: is listed in {part.annotations}, but is not there{near}; put it there"


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
        return image_id, not_there(path, part)
    return image_id, Example(image_id, path, image.annotation)
