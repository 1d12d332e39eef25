"""Writes generated mosaics of handwritten digits in the layout of TJU-DHD's pedestrians."""

from __future__ import annotations

from pathlib import Path

from patchtrain.datasets.samples.digit_files import DigitLayout, write_digits

_LAYOUT = DigitLayout(
    annotations="dhd_pedestrian/ped_traffic/annotations/dhd_pedestrian_traffic_{}.json",
    images="dhd_traffic/images/{}",
    categories={1: "pedestrian"},
    category_of=lambda digit: 1,
    is_ignored=lambda digit: digit == 0,
)


def write_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write mosaics as the folder `out`: every digit is a pedestrian, 0 one to be ignored. See
    `write_digits`.
    """
    write_digits(out, num_images, image_size, seed, _LAYOUT)
