"""Writes small generated data sets in the real on-disk layouts; knows nothing of training.

Same arguments, same bytes. Each folder appears whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.datasets.sample_slides import draw_plan, render_slide
from patchtrain.errors import ConfigError

SAMPLE_VERSION = 1
"""Raised with every change to what is generated."""

MIN_IMAGE_SIZE_PX = 64

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
"""Keeps the fine textures that tell the grades apart."""


def write_panda_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated slides as the folder `out` in the layout of PANDA.

    `train.csv` and `train_images/<image_id>.tiff`: square tiled JPEG pyramids with levels of 1,
    1/2 and 1/4 of `image_size` px. Grades 0 to 5 occur equally often; see `sample_slides` for how
    they show. The first images stay the same where `num_images` grows.

    Raises:
        ConfigError: a number out of range, or `out` is not empty or cannot be written.
    """
    _check_numbers(num_images, image_size, seed)
    with _new_folder(out) as folder:
        (folder / "train_images").mkdir()

        def write_one(index: int) -> tuple[str, str, int, str]:
            return _write_panda_slide(folder / "train_images", index, image_size, seed)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            rows = sorted(pool.map(write_one, range(num_images)))
        with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_PANDA_COLUMNS)
            writer.writerows(rows)


def _check_numbers(num_images: int, image_size: int, seed: int) -> None:
    if num_images < 1:
        raise ConfigError(f"num_images={num_images} must be at least 1; raise it")
    if image_size < MIN_IMAGE_SIZE_PX:
        raise ConfigError(
            f"image_size={image_size} is too small for sample slides; "
            f"use at least {MIN_IMAGE_SIZE_PX}"
        )
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative; use 0 or more")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `out` when the block ends well, else disappears."""
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"out={out}: holds files already; choose an empty or a new folder")
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise ConfigError(
            f"out={out}: cannot be written ({error.strerror}); choose a folder that can be"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
