"""`Listing`: the images that a data set names, before any of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from patchtrain.datasets.base import Example
from patchtrain.datasets.folders import folders_in, is_folder, pictures_in
from patchtrain.datasets.masks import MaskFiles, MaskReader
from patchtrain.datasets.split import SPLITS
from patchtrain.errors import DataError

MAX_ID_BYTES = 200


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a data set; whether they can be read is open."""

    examples: tuple[Example, ...]
    """Sorted by image_id."""
    class_names: tuple[str, ...]
    category_numbers: tuple[int, ...] = ()
    """Of each class what stands for it in files of detections, where the data set says so."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """image_id -> why it cannot be used, of images of which a file is missing; the ids are none of
    those in `examples`."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """image_id -> its split, where the data set itself says so."""

    def __len__(self) -> int:
        return len(self.examples) + len(self.unusable)

    @property
    def image_ids(self) -> set[str]:
        """Of all images, also of those that cannot be used."""
        return {example.image_id for example in self.examples} | self.unusable.keys()

    def only(self, image_ids: Collection[str]) -> Listing:
        """Return the listing of these images alone."""
        return replace(
            self,
            examples=tuple(e for e in self.examples if e.image_id in image_ids),
            unusable={name: why for name, why in self.unusable.items() if name in image_ids},
        )


@dataclass(frozen=True, kw_only=True)
class MaskFolders:
    """Folders whose pictures belong together by their names.

    Attributes:
        images: folder of images.
        masks: folder of their masks.
        field_of_view: folder of masks of the pixels that count; None: all do.
        name_of: from the name of a picture, without suffix, to what images and masks share.
        id_of: from that name to the image_id, which no other image of the data set may have.
        part: split of these images; None: the data set does not say.
    """

    images: Path
    masks: Path
    field_of_view: Path | None = None
    name_of: Callable[[str], str] = str
    id_of: Callable[[str], str] = str
    part: str | None = None


def split_folders(root: Path, images: str, masks: str) -> list[MaskFolders]:
    """Return the folders `images` and `masks` of each split that has a folder in `root`, with
    image_ids such as `train_a`. Test images without a folder of masks, as challenges give them
    away, are none.

    Raises:
        DataError: there are splits, and beside them the same folders under a name of no split.
    """
    splits = [split for split in SPLITS if is_folder(root / split / images)]
    if splits:
        _check_names_of_splits(root, images, masks)
    if "test" in splits and not is_folder(root / "test" / masks):
        splits.remove("test")
    return [
        MaskFolders(
            images=root / split / images,
            masks=root / split / masks,
            id_of=f"{split}_{{}}".format,
            part=split,
        )
        for split in splits
    ]


def _check_names_of_splits(root: Path, images: str, masks: str) -> None:
    for folder in folders_in(root):
        both = is_folder(folder / images) and is_folder(folder / masks)
        if both and folder.name not in SPLITS:
            raise DataError(
                f"{folder}: has {images}/ and {masks}/, but is none of the splits "
                f"{', '.join(SPLITS)}; rename it to one of them, or move it elsewhere"
            )


def list_mask_folders(
    folders: Sequence[MaskFolders], reader: MaskReader, class_names: tuple[str, ...], layout: str
) -> Listing:
    """Return the images in `folders` with their masks; one without the other cannot be used.

    Raises:
        DataError: a folder is missing or unreadable, there are no images, or an image_id is no
            file name or has two images.
    """
    found = [
        FoundImage(image_id, example, folder.part, folder.images)
        for folder in folders
        for image_id, example in _in_folders(folder, reader, layout)
    ]
    return listing_of(found, class_names)


class FoundImage(NamedTuple):
    """An image that a data set names."""

    image_id: str
    example: Example | str
    """Or the reason why it cannot be used."""
    part: str | None
    """Its split, where the data set says so."""
    where: Path
    """The folder or file that names it."""


def listing_of(
    found: Iterable[FoundImage],
    class_names: tuple[str, ...],
    category_numbers: tuple[int, ...] = (),
) -> Listing:
    """Return the listing of the images `found`.

    Raises:
        DataError: an image_id has two images.
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


def _in_folders(
    folders: MaskFolders, reader: MaskReader, layout: str
) -> list[tuple[str, Example | str]]:
    """Return each image_id with its example, or with the reason why it cannot be used."""
    images = pictures_in(folders.images, layout, folders.name_of)
    masks = pictures_in(folders.masks, layout, folders.name_of)
    views: Mapping[str, Path] = {}
    if folders.field_of_view is not None:
        views = pictures_in(folders.field_of_view, layout, folders.name_of)
    if not images:
        raise DataError(f"{folders.images}: holds no images; {layout}; put the images there")
    found: list[tuple[str, Example | str]] = []
    for name in sorted(images.keys() | masks.keys()):
        image, mask, view = images.get(name), masks.get(name), views.get(name)
        image_id = checked_id(folders.id_of(name), image or masks[name])
        if image is None:
            found.append((image_id, _unpaired(masks[name], "image", folders.images)))
        elif mask is None:
            found.append((image_id, _unpaired(image, "mask", folders.masks)))
        elif folders.field_of_view is not None and view is None:
            found.append((image_id, _unpaired(image, "field of view", folders.field_of_view)))
        else:
            found.append((image_id, Example(image_id, image, MaskFiles(mask, reader, view))))
    return found


def _unpaired(path: Path, what: str, folder: Path) -> str:
    return f"{path}: has no {what} in {folder}; add it there, or remove this file"


def checked_id(image_id: str, path: Path) -> str:
    """Return the image_id that the file `path` gives.

    Raises:
        DataError: it can be no file's name.
    """
    if not is_file_name(image_id):
        raise DataError(
            f"{path.parent}: the name {path.name!r} gives the image_id {image_id!r}, which must be "
            f"printable text of at most {MAX_ID_BYTES} bytes without blanks around; rename the file"
        )
    return image_id


def is_file_name(image_id: str) -> bool:
    """Return whether the id can be a file's name and stand in a table."""
    if image_id in ("", ".", "..") or image_id != image_id.strip():
        return False
    if not image_id.isprintable() or set(image_id) & set("/\\"):
        return False
    return len(image_id.encode()) <= MAX_ID_BYTES
