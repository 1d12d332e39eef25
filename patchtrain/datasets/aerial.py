"""Aerial tiles of Dubai (Humans in the Loop, MBRSC), land use by colour, in the published layout.

`Tile 1/images/image_part_001.jpg` and `Tile 1/masks/image_part_001.png`; any folder with
`images` and `masks` is a tile, and the tiles may lie in a folder of `data_dir`. The image_id is
`tile1_part001`: folder and file in lower case, without blanks, underscores and `image`.

Unlabeled pixels are ignored, and so are the few black ones in the published masks.
Splits are drawn from all images.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.finding.folders import find_root, folders_in, is_folder
from patchtrain.datasets.finding.listing import Listing
from patchtrain.datasets.finding.mask_folders import MaskFolders, list_mask_folders
from patchtrain.datasets.targets.masks import IGNORED, Colour, ColourMask
from patchtrain.errors import ConfigError

COLOURS: Mapping[str, Colour] = {
    "building": (0x3C, 0x10, 0x98),
    "land": (0x84, 0x29, 0xF6),
    "road": (0x6E, 0xC1, 0xE4),
    "vegetation": (0xFE, 0xDD, 0x3A),
    "water": (0xE2, 0xA9, 0x29),
    "unlabeled": (0x9B, 0x9B, 0x9B),
}
"""Class -> its colour in the masks. The `classes.json` that comes with the tiles gives wrong ones.
"""

_UNLABELED = "unlabeled"
_BLACK = (0, 0, 0)

_LAND_USES = tuple(name for name in COLOURS if name != _UNLABELED)


class Aerial(DataSet):
    """The aerial tiles of Dubai."""

    layout = "folders such as 'Tile 1' with images/image_part_001.jpg and masks/image_part_001.png"

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the land uses; with `foreground` background and this one."""
        if config.foreground is None:
            return _LAND_USES
        if config.foreground not in _LAND_USES:
            raise ConfigError(
                f"foreground={config.foreground!r} is not a class of dataset=aerial; use one of "
                f"{', '.join(_LAND_USES)}"
            )
        return ("background", config.foreground)

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images of all tiles in `data_dir`."""
        names = self.class_names(config)
        root = find_root(data_dir, _has_tiles, self.layout)
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
        return list_mask_folders(folders, _reader(config.foreground), names, self.layout)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated land seen from above."""
        from patchtrain.datasets.samples import aerial

        aerial.write_sample(out, num_images, image_size, seed, COLOURS)


def _has_tiles(folder: Path) -> bool:
    return any(
        is_folder(tile / "images") and is_folder(tile / "masks") for tile in folders_in(folder)
    )


def _short(name: str) -> str:
    """Return `tile1` for `Tile 1`, `part001` for `image_part_001`."""
    words = name.lower().replace("_", " ").split()
    return "".join(words[1:] if len(words) > 1 and words[0] == "image" else words)


def _reader(foreground: str | None) -> ColourMask:
    """Return the reader of masks: all classes, or one against the others."""
    classes = [
        (COLOURS[name], number if foreground is None else int(name == foreground))
        for number, name in enumerate(_LAND_USES)
    ]
    return ColourMask((*classes, (COLOURS[_UNLABELED], IGNORED), (_BLACK, IGNORED)))
