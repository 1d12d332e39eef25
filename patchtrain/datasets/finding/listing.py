"""`Listing`: the images of a data set before any of them is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from patchtrain.datasets.example import Example
from patchtrain.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")

MAX_ID_BYTES = 200


def check_plain_id(image_id: str, where: str) -> None:
    """Refuse an image_id in a table that is no plain file name; `where` is its place."""
    if not is_file_name(image_id):
        raise DataError(
            f"{where} must be a plain file name of at most {MAX_ID_BYTES} bytes, without "
            "folders; correct it"
        )


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a data set; whether they can be read is not known yet."""

    examples: tuple[Example, ...]
    """Sorted by image_id."""
    class_names: tuple[str, ...]
    category_numbers: tuple[int, ...] = ()
    """The number of each class in files of detections, if the data set has such numbers."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """image_id -> why the image cannot be used, e.g. because a file is missing; these are not in
    `examples`."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """image_id -> split, for images that the data set itself assigns to one."""

    def __len__(self) -> int:
        return len(self.examples) + len(self.unusable)

    @property
    def image_ids(self) -> set[str]:
        """Ids of all images, including those that cannot be used."""
        return {example.image_id for example in self.examples} | self.unusable.keys()

    def only(self, image_ids: Collection[str]) -> Listing:
        """Return a listing of only these images."""
        return replace(
            self,
            examples=tuple(e for e in self.examples if e.image_id in image_ids),
            unusable={name: why for name, why in self.unusable.items() if name in image_ids},
        )


def check_listing(listing: Any, name: str, class_names: tuple[str, ...]) -> None:
    """Check what a data set of the user's own listed.

    Args:
        listing: what `list_images` returned.
        name: the data set.
        class_names: the classes that it has without looking at any data.

    Raises:
        ConfigError: it breaks the contract; names the data set and the rule.
    """
    if not isinstance(listing, Listing):
        raise ConfigError(
            f"dataset={name!r}: list_images returned a {type(listing).__name__}; return a Listing"
        )
    if tuple(listing.class_names) != tuple(class_names):
        raise ConfigError(
            f"dataset={name!r}: the listing has the classes {listing.class_names}, class_names() "
            f"gives {class_names}; return the same"
        )
    ids = [example.image_id for example in listing.examples]
    for one, after in pairwise(ids):
        if not one < after:
            raise ConfigError(
                f"dataset={name!r}: image_id {after!r} comes after {one!r}; sort the examples by "
                "image_id, each once"
            )
    for example in listing.examples:
        _check_example(example, name, len(class_names))


def _check_example(example: Example, name: str, num_classes: int) -> None:
    image_id, target = example.image_id, example.target
    if not is_file_name(image_id):
        raise ConfigError(
            f"dataset={name!r}: image_id {image_id!r} cannot name a file; leave out folders and "
            "special characters"
        )
    is_outside = isinstance(target, int) and not 0 <= target < num_classes
    if isinstance(target, str) or is_outside:
        raise ConfigError(
            f"dataset={name!r}: the target of {image_id!r} is {target!r}; use the number of a "
            f"class, 0 to {num_classes - 1}"
        )
    if isinstance(example.image, str):
        raise ConfigError(
            f"dataset={name!r}: the image of {image_id!r} is text; use a pathlib.Path"
        )


class FoundImage(NamedTuple):
    """An image that was found in a data set."""

    image_id: str
    example: Example | str
    """The example, or the reason why it cannot be used."""
    part: str | None
    """The split, if the data set says so."""
    where: Path
    """The folder or file in which it was found."""


def listing_of(
    found: Iterable[FoundImage],
    class_names: tuple[str, ...],
    category_numbers: tuple[int, ...] = (),
) -> Listing:
    """Return the listing of the images `found`, sorted by image_id.

    Raises:
        DataError: two images have the same image_id.
    """
    by_id: dict[str, FoundImage] = {}
    for image in found:
        first = by_id.setdefault(image.image_id, image)
        if first is not image:
            other = "another image in it" if first.where == image.where else f"one in {first.where}"
            raise DataError(
                f"{image.where}: image_id {image.image_id!r} is also that of {other}; rename or "
                "remove one of the two"
            )
    examples = (by_id[image_id].example for image_id in sorted(by_id))
    return Listing(
        examples=tuple(example for example in examples if isinstance(example, Example)),
        class_names=class_names,
        category_numbers=category_numbers,
        unusable={name: i.example for name, i in by_id.items() if isinstance(i.example, str)},
        parts={name: image.part for name, image in by_id.items() if image.part is not None},
    )


def checked_id(image_id: str, path: Path) -> str:
    """Return `image_id`, which comes from the name of `path`.

    Raises:
        DataError: it cannot be the name of a file.
    """
    if not is_file_name(image_id):
        raise DataError(
            f"{path.parent}: the name {path.name!r} gives the image_id {image_id!r}, which must be "
            f"printable text of at most {MAX_ID_BYTES} bytes without blanks around; rename the file"
        )
    return image_id


def is_file_name(image_id: str) -> bool:
    """Return whether the id is safe as the name of a file and in a table."""
    if image_id in ("", ".", "..") or image_id != image_id.strip():
        return False
    if not image_id.isprintable() or set(image_id) & set("/\\"):
        return False
    return len(image_id.encode()) <= MAX_ID_BYTES
