"""Writes generated land seen from above in the layout of the aerial tiles; `scenes` draws it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.datasets.samples.files import JPEG_QUALITY, check_numbers, for_each, new_folder
from patchtrain.datasets.samples.scenes import SCENE_CLASSES, draw_scene
from patchtrain.datasets.targets.masks import Colour

_PARTS_PER_TILE = 9
_TILE_SHAPE = (0.8, 0.98)
"""Shorter side of a tile, as a share of the longer one."""


def write_sample(
    out: Path, num_images: int, image_size: int, seed: int, colours: Mapping[str, Colour]
) -> None:
    """Write generated scenes as the folder `out`.

    `Tile 1/images/image_part_001.jpg` and `Tile 1/masks/image_part_001.png`, up to 9 parts a
    tile. The longer side is `image_size` px; the shorter one differs by tile. A larger
    `num_images` keeps the first images.

    Args:
        out: an empty or new folder.
        num_images: images to write.
        image_size: longer side in px.
        seed: decides what the images show.
        colours: colour of each of the `SCENE_CLASSES` in masks.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
    """
    check_numbers(num_images, image_size, seed)
    by_class = np.array([colours[name] for name in SCENE_CLASSES], np.uint8)
    with new_folder(out) as folder:
        for tile in range(-(-num_images // _PARTS_PER_TILE)):
            for kind in ("images", "masks"):
                (folder / _tile_name(tile) / kind).mkdir(parents=True)
        for_each(
            range(num_images), lambda index: _write_part(folder, index, image_size, seed, by_class)
        )


def _write_part(folder: Path, index: int, image_size: int, seed: int, colours: np.ndarray) -> None:
    tile, part = divmod(index, _PARTS_PER_TILE)
    width_px, height_px = _tile_size(tile, image_size, seed)
    scene = draw_scene(np.random.default_rng([seed, tile, part + 1]), width_px, height_px)
    folder, name = folder / _tile_name(tile), f"image_part_{part + 1:03d}"
    image = Image.fromarray(scene.image)
    image.save(folder / "images" / f"{name}.jpg", quality=JPEG_QUALITY)
    Image.fromarray(colours[scene.classes]).save(folder / "masks" / f"{name}.png")


def _tile_name(tile: int) -> str:
    return f"Tile {tile + 1}"


def _tile_size(tile: int, image_size: int, seed: int) -> tuple[int, int]:
    """Return width and height of the parts of a tile."""
    rng = np.random.default_rng([seed, tile, 0])
    shorter_px = round(rng.uniform(*_TILE_SHAPE) * image_size)
    return (image_size, shorter_px) if rng.random() < 0.5 else (shorter_px, image_size)
