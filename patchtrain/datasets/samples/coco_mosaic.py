"""Writes generated mosaics of handwritten digits in the layout of COCO."""

from __future__ import annotations

from pathlib import Path

from patchtrain.datasets.samples.digit_files import DigitLayout, write_digits

_LAYOUT = DigitLayout(
    annotations="annotations/instances_{}.json",
    images="{}",
    categories={digit + 1: str(digit) for digit in range(10)},
    category_of=lambda digit: digit + 1,
)


def write_sample(out: Path, num_images: int, image_size: int, seed: int) -> None:
    """Write mosaics as the folder `out`; the ten classes are the digits. See `write_digits`."""
    write_digits(out, num_images, image_size, seed, _LAYOUT)
