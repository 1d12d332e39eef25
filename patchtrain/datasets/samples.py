"""Writes small generated data sets in the real on-disk layouts; knows nothing of training.

Same arguments, same bytes. Each folder appears whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.datasets.aerial_colours import AERIAL_COLOURS
from patchtrain.datasets.masks import ThresholdMask
from patchtrain.datasets.sample_boxes import (
    write_mosaic_sample,
    write_soda_sample,
    write_tju_sample,
)
from patchtrain.datasets.sample_files import check_numbers, for_each, new_folder
from patchtrain.datasets.sample_scenes import SCENE_CLASSES, draw_scene
from patchtrain.datasets.sample_slides import draw_plan, render_slide
from patchtrain.datasets.sample_vessels import draw_retina
from patchtrain.errors import ConfigError

_PANDA_COLUMNS = ("image_id", "data_provider", "isup_grade", "gleason_score")
_GLEASON_SCORES = (
    {"karolinska": ("0+0",), "radboud": ("negative",)},
    {"karolinska": ("3+3",), "radboud": ("3+3",)},
    {"karolinska": ("3+4",), "radboud": ("3+4",)},
    {"karolinska": ("4+3",), "radboud": ("4+3",)},
    {"karolinska": ("4+4", "3+5"), "radboud": ("4+4", "5+3")},
    {"karolinska": ("4+5", "5+4"), "radboud": ("4+5", "5+5")},
)
"""Grade -> provider -> Gleason scores that the provider writes for it."""

_JPEG_QUALITY = 90
"""Keeps the fine textures that tell grades and classes apart."""

_PARTS_PER_TILE = 9
_TILE_SHAPE = (0.8, 0.98)
"""Shorter side of an aerial tile, in shares of the longer one."""


def write_panda_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated slides as the folder `out` in the layout of PANDA.

    `train.csv` and `train_images/<image_id>.tiff`: square tiled JPEG pyramids with levels of 1,
    1/2 and 1/4 of `image_size` px. Grades 0 to 5 occur equally often; see `sample_slides` for how
    they show. The first images stay the same where `num_images` grows.

    Raises:
        ConfigError: a number out of range, or `out` is not empty or cannot be written.
    """
    check_numbers(num_images, image_size, seed)
    with new_folder(out) as folder:
        (folder / "train_images").mkdir()
        rows = for_each(
            range(num_images),
            lambda index: _write_panda_slide(folder / "train_images", index, image_size, seed),
        )
        with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_PANDA_COLUMNS)
            writer.writerows(sorted(rows))


def write_drive_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated photographs of retinas as the folder `out` in the layout of DRIVE.

    `training` and `test`, half of the images each (of an odd number one more in training), with
    `images/21_training.tif`, `1st_manual/21_manual1.gif` (vessels) and
    `mask/21_training_mask.gif` (field of view). As in DRIVE, test images are counted from 01 and
    training images from where they end. All are squares of `image_size` px. Where `num_images`
    grows, the first images of both halves stay the same; those in training change their numbers.

    Raises:
        ConfigError: a number out of range, or `out` is not empty or cannot be written.
    """
    if num_images < 2:
        raise ConfigError(
            f"num_images={num_images} must be at least 2, one for training and one for test; "
            "raise it"
        )
    check_numbers(num_images, image_size, seed)
    num_test = num_images // 2
    photographs = [_DrivePhotograph("test", index, index + 1) for index in range(num_test)]
    photographs += [
        _DrivePhotograph("training", index, num_test + index + 1)
        for index in range(num_images - num_test)
    ]
    with new_folder(out) as folder:
        for part in ("test", "training"):
            for kind in ("images", "1st_manual", "mask"):
                (folder / part / kind).mkdir(parents=True)
        for_each(photographs, lambda each: _write_drive_photograph(folder, each, image_size, seed))


def write_aerial_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated scenes as the folder `out` in the layout of the aerial tiles of Dubai.

    `Tile 1/images/image_part_001.jpg` and `Tile 1/masks/image_part_001.png`, up to 9 parts a
    tile. The longer side is `image_size` px; the shorter one differs by tile. Masks show classes
    as `AERIAL_COLOURS`. The first images stay the same where `num_images` grows.

    Raises:
        ConfigError: a number out of range, or `out` is not empty or cannot be written.
    """
    check_numbers(num_images, image_size, seed)
    with new_folder(out) as folder:
        for tile in range(-(-num_images // _PARTS_PER_TILE)):
            for kind in ("images", "masks"):
                (folder / _tile_name(tile) / kind).mkdir(parents=True)
        for_each(
            range(num_images), lambda index: _write_aerial_part(folder, index, image_size, seed)
        )


@dataclass(frozen=True)
class SampleWriter:
    """How the sample of a data set is generated.

    Attributes:
        write: writes it as a new folder: out, num_images, image_size, seed.
        version: raised with every change to what is generated.
    """

    write: Callable[[Path, int, int, int], None]
    version: int


WRITERS: Mapping[str, SampleWriter] = {
    "panda": SampleWriter(write_panda_sample, version=1),
    "drive": SampleWriter(write_drive_sample, version=1),
    "aerial": SampleWriter(write_aerial_sample, version=1),
    "coco_mosaic": SampleWriter(write_mosaic_sample, version=1),
    "soda": SampleWriter(write_soda_sample, version=1),
    "tju": SampleWriter(write_tju_sample, version=1),
}
"""Data set -> what generates a sample of it."""


def _write_panda_slide(
    folder: Path, index: int, image_size: int, seed: int
) -> tuple[str, str, int, str]:
    """Write slide number `index` and return its row of `train.csv`."""
    rng = np.random.default_rng([seed, index])
    grade = index % len(_GLEASON_SCORES)
    plan = draw_plan(grade, rng)
    provider = str(rng.choice(["karolinska", "radboud"]))
    gleason_score = str(rng.choice(_GLEASON_SCORES[grade][provider]))
    image_id = hashlib.sha256(f"panda sample {seed} {index}".encode()).hexdigest()[:32]
    write_pyramid(folder / f"{image_id}.tiff", render_slide(plan, image_size))
    return image_id, provider, grade, gleason_score


def write_pyramid(path: Path, image: np.ndarray, num_levels: int = 3) -> None:
    """Write the uint8 RGB `image` as a tiled JPEG TIFF, each level half the size of the last."""
    import tifffile

    tile_px = 256 if max(image.shape) >= 512 else 128
    with tifffile.TiffWriter(path) as tiff:
        for level in range(num_levels):
            tiff.write(
                np.asarray(Image.fromarray(image).reduce(2**level)),
                # this flag, not a list of sub-pages, is what makes a page a level to OpenSlide
                subfiletype=0 if level == 0 else 1,
                tile=(tile_px, tile_px),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                metadata=None,
                software=False,
            )


@dataclass(frozen=True)
class _DrivePhotograph:
    """Which photograph of the sample.

    Attributes:
        part: `training` or `test`.
        index: its place in this part, from 0; decides what it shows.
        number: what its files are named by.
    """

    part: str
    index: int
    number: int


def _write_drive_photograph(
    folder: Path, photograph: _DrivePhotograph, image_size: int, seed: int
) -> None:
    part, number = photograph.part, f"{photograph.number:02d}"
    rng = np.random.default_rng([seed, int(part == "training"), photograph.index])
    retina = draw_retina(rng, image_size)
    folder = folder / part
    image = Image.fromarray(retina.image)
    image.save(folder / "images" / f"{number}_{part}.tif", compression="tiff_lzw")
    drawn = ThresholdMask().drawn
    drawn(retina.vessels).save(folder / "1st_manual" / f"{number}_manual1.gif")
    drawn(retina.field_of_view).save(folder / "mask" / f"{number}_{part}_mask.gif")


def _write_aerial_part(folder: Path, index: int, image_size: int, seed: int) -> None:
    tile, part = divmod(index, _PARTS_PER_TILE)
    width_px, height_px = _tile_size(tile, image_size, seed)
    scene = draw_scene(np.random.default_rng([seed, tile, part + 1]), width_px, height_px)
    colours = np.array([AERIAL_COLOURS[name] for name in SCENE_CLASSES], np.uint8)
    folder, name = folder / _tile_name(tile), f"image_part_{part + 1:03d}"
    image = Image.fromarray(scene.image)
    image.save(folder / "images" / f"{name}.jpg", quality=_JPEG_QUALITY)
    Image.fromarray(colours[scene.classes]).save(folder / "masks" / f"{name}.png")


def _tile_name(tile: int) -> str:
    return f"Tile {tile + 1}"


def _tile_size(tile: int, image_size: int, seed: int) -> tuple[int, int]:
    """Return width and height of the parts of a tile."""
    rng = np.random.default_rng([seed, tile, 0])
    shorter_px = round(rng.uniform(*_TILE_SHAPE) * image_size)
    return (image_size, shorter_px) if rng.random() < 0.5 else (shorter_px, image_size)
