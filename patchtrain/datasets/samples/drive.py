"""Writes generated photographs of retinas in the layout of DRIVE; `vessels` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.datasets.samples.files import check_numbers, for_each, new_folder
from patchtrain.datasets.samples.vessels import draw_retina
from patchtrain.datasets.targets.masks import ThresholdMask
from patchtrain.errors import ConfigError


def write_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write generated photographs of retinas as the folder `out`.

    Half of the images go to `test`, the others (one more if the number is odd) to `training`, with
    `images/21_training.tif`, `1st_manual/21_manual1.gif` (vessels) and
    `mask/21_training_mask.gif` (field of view). As in DRIVE, test images are numbered from 01, and
    training images go on from there. All are squares of `image_size` px. A larger `num_images`
    keeps the first images of both halves, but those in training get other numbers.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
    """
    if num_images < 2:
        raise ConfigError(
            f"num_images={num_images} must be at least 2, one for training and one for test; "
            "raise it"
        )
    check_numbers(num_images, image_size, seed)
    num_test = num_images // 2
    photographs = [_Photograph("test", index, index + 1) for index in range(num_test)]
    photographs += [
        _Photograph("training", index, num_test + index + 1)
        for index in range(num_images - num_test)
    ]
    with new_folder(out) as folder:
        for part in ("test", "training"):
            for kind in ("images", "1st_manual", "mask"):
                (folder / part / kind).mkdir(parents=True)
        for_each(photographs, lambda each: _write_photograph(folder, each, image_size, seed))


@dataclass(frozen=True)
class _Photograph:
    """One photograph of the sample.

    Attributes:
        part: `training` or `test`.
        index: its place in this part, from 0; decides what it shows.
        number: the number in the names of its files.
    """

    part: str
    index: int
    number: int


def _write_photograph(folder: Path, photograph: _Photograph, image_size: int, seed: int) -> None:
    part, number = photograph.part, f"{photograph.number:02d}"
    rng = np.random.default_rng([seed, int(part == "training"), photograph.index])
    retina = draw_retina(rng, image_size)
    folder = folder / part
    image = Image.fromarray(retina.image)
    image.save(folder / "images" / f"{number}_{part}.tif", compression="tiff_lzw")
    drawn = ThresholdMask().drawn
    drawn(retina.vessels).save(folder / "1st_manual" / f"{number}_manual1.gif")
    drawn(retina.field_of_view).save(folder / "mask" / f"{number}_{part}_mask.gif")
