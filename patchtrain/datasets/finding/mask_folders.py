"""Lists images with masks of the same names in other folders; opens none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.folders import folders_in, is_folder, pictures_in
from patchtrain.datasets.finding.listing import (
    SPLITS,
    FoundImage,
    Listing,
    checked_id,
    listing_of,
)
from patchtrain.datasets.finding.names import match_names
from patchtrain.datasets.targets.masks import MaskFiles, MaskReader
from patchtrain.errors import DataError


@dataclass(frozen=True, kw_only=True)
class MaskFolders:
    """Folders whose pictures belong together if they have the same name.

    Attributes:
        images: folder of images.
        masks: folder of their masks.
        field_of_view: folder of masks of the pixels that count; None: all pixels do.
        name_of: turns the name of a picture, without suffix, into what image and mask share.
        id_of: turns this shared name into the image_id, unique in the data set.
        part: split of these images; None if the data set does not say.
    """

    images: Path
    masks: Path
    field_of_view: Path | None = None
    name_of: Callable[[str], str] = str
    id_of: Callable[[str], str] = str
    part: str | None = None


def split_folders(root: Path, images: str, masks: str) -> list[MaskFolders]:
    """Return the folders `images` and `masks` of each split that has a folder in `root`, with
    image_ids such as `train_a`. Test images without a folder of masks, as published by challenges,
    are left out.

    Raises:
        DataError: next to the splits the same folders lie in a folder that is not named as a split.
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
                f"{folder}: has {images}/ and {masks}/, but is not one of the splits "
                f"{', '.join(SPLITS)}; rename it to one of them, or move it elsewhere"
            )


def list_mask_folders(
    folders: Sequence[MaskFolders], reader: MaskReader, class_names: tuple[str, ...], layout: str
) -> Listing:
    """Return the images in `folders` with their masks; either without the other cannot be used.

    Raises:
        DataError: a folder is missing or unreadable, there are no images, or an image_id is not a
            valid file name or belongs to two images.
    """
    found = [
        FoundImage(image_id, example, folder.part, folder.images)
        for folder in folders
        for image_id, example in _in_folders(folder, reader, layout)
    ]
    return listing_of(found, class_names)


def _in_folders(
    folders: MaskFolders, reader: MaskReader, layout: str
) -> list[tuple[str, Example | str]]:
    """Return each image_id with its example, or with the reason why it cannot be used."""
    images = pictures_in(folders.images, layout, folders.name_of)
    masks = _named_as(images, pictures_in(folders.masks, layout, folders.name_of))
    views: Mapping[str, Path] = {}
    if folders.field_of_view is not None:
        views = _named_as(images, pictures_in(folders.field_of_view, layout, folders.name_of))
    if not images:
        raise DataError(
            f"{folders.images}: holds no images; expected {layout}; put the images there"
        )
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


def _named_as(images: Mapping[str, Path], others: Mapping[str, Path]) -> dict[str, Path]:
    """Return `others` under the names that `images` have, where these are certainly meant."""
    meant = {theirs: ours for ours, theirs in match_names(images, others).items()}
    return {meant.get(name, name): path for name, path in others.items()}


def _unpaired(path: Path, what: str, folder: Path) -> str:
    return f"{path}: has no {what} in {folder}; add it there, or remove this file"
