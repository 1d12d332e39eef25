"""Aerial tiles of Dubai (Humans in the Loop, MBRSC), land use by colour, in their published layout.

`Tile 1/images/image_part_001.jpg` and `Tile 1/masks/image_part_001.png`; any folder that holds
`images` and `masks` is a tile, and the tiles may lie in a folder of `data_dir`. The image_id is
`tile1_part001`: folder and file in lower case, without blanks, underscores and `image`.

Unlabeled pixels, and the black ones that the published masks have here and there, are ignored.
Splits are drawn from all images.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.aerial_colours import AERIAL_COLOURS
from patchtrain.datasets.folders import find_root, folders_in, is_folder
from patchtrain.datasets.listing import Listing, MaskFolders, list_mask_folders
from patchtrain.datasets.masks import IGNORED, ColourMask
from patchtrain.errors import ConfigError

_UNLABELED = "unlabeled"
_BLACK = (0, 0, 0)

LAND_USES = tuple(name for name in AERIAL_COLOURS if name != _UNLABELED)

_LAYOUT = (
    "the aerial tiles are folders such as 'Tile 1' with images/image_part_001.jpg and "
    "masks/image_part_001.png"
)


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes; those of two with `foreground`.

    Raises:
        ConfigError: `foreground` is no class.
    """
    if config.foreground is None:
        return LAND_USES
    if config.foreground not in LAND_USES:
        raise ConfigError(
            f"foreground={config.foreground!r} is no class of dataset=aerial; use one of "
            f"{', '.join(LAND_USES)}"
        )
    return ("background", config.foreground)


def list_aerial(config: TrialConfig, data_dir: Path) -> Listing:
    """Return the images of all tiles in `data_dir`.

    Raises:
        DataError: something is missing or inconsistent.
        ConfigError: `foreground` is no class.
    """
    names = class_names(config)
    root = find_root(data_dir, _has_tiles, _LAYOUT)
    folders = [
        MaskFolders(
            images=tile / "images",
            masks=tile / "masks",
            name_of=_short,
            id_of=partial("{}_{}".format, _short(tile.name)),
        )
        for tile in folders_in(root)
        if is_folder(tile / "images") or is_folder(tile / "masks")
    ]
    return list_mask_folders(folders, _reader(config.foreground), names, _LAYOUT)


def _has_tiles(folder: Path) -> bool:
    return any(
        is_folder(tile / "images") and is_folder(tile / "masks") for tile in folders_in(folder)
    )


def _short(name: str) -> str:
    """Return `tile1` for `Tile 1`, `part001` for `image_part_001`."""
    words = name.lower().replace("_", " ").split()
    return "".join(words[1:] if len(words) > 1 and words[0] == "image" else words)


def _reader(foreground: str | None) -> ColourMask:
    """Return how the masks are read: all classes, or one against the others."""
    classes = [
        (AERIAL_COLOURS[name], number if foreground is None else int(name == foreground))
        for number, name in enumerate(LAND_USES)
    ]
    return ColourMask((*classes, (AERIAL_COLOURS[_UNLABELED], IGNORED), (_BLACK, IGNORED)))
