"""Writes generated slides in the layout of PANDA; `slides` draws them."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.datasets.samples.files import JPEG_QUALITY, check_numbers, for_each, new_folder
from patchtrain.datasets.samples.slides import draw_plan, render_slide

_COLUMNS = ("image_id", "data_provider", "isup_grade", "gleason_score")
_GLEASON_SCORES = (
    {"karolinska": ("0+0",), "radboud": ("negative",)},
    {"karolinska": ("3+3",), "radboud": ("3+3",)},
    {"karolinska": ("3+4",), "radboud": ("3+4",)},
    {"karolinska": ("4+3",), "radboud": ("4+3",)},
    {"karolinska": ("4+4", "3+5"), "radboud": ("4+4", "5+3")},
    {"karolinska": ("4+5", "5+4"), "radboud": ("4+5", "5+5")},
)
"""Grade -> provider -> Gleason scores that the provider writes for it."""


def write_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated slides as the folder `out`.

    `train.csv` and `train_images/<image_id>.tiff`: square tiled JPEG pyramids with levels of 1,
    1/2 and 1/4 of `image_size` px. Grades 0 to 5 occur equally often. A larger `num_images` keeps
    the first images.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
    """
    check_numbers(num_images, image_size, seed)
    with new_folder(out) as folder:
        (folder / "train_images").mkdir()
        rows = for_each(
            range(num_images),
            lambda index: _write_slide(folder / "train_images", index, image_size, seed),
        )
        with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(sorted(rows))


def _write_slide(folder: Path, index: int, image_size: int, seed: int) -> tuple[str, str, int, str]:
    """Write slide number `index` and return its row of `train.csv`."""
    rng = np.random.default_rng([seed, index])
    grade = index % len(_GLEASON_SCORES)
    plan = draw_plan(grade, rng)
    provider = str(rng.choice(["karolinska", "radboud"]))
    gleason_score = str(rng.choice(_GLEASON_SCORES[grade][provider]))
    image_id = hashlib.sha256(f"panda sample {seed} {index}".encode()).hexdigest()[:32]
    _write_pyramid(folder / f"{image_id}.tiff", render_slide(plan, image_size))
    return image_id, provider, grade, gleason_score


def _write_pyramid(path: Path, image: np.ndarray, num_levels: int = 3) -> None:
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
                compressionargs={"level": JPEG_QUALITY},
                metadata=None,
                software=False,
            )
