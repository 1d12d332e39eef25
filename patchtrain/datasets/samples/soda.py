"""Writes generated mosaics of handwritten digits in the layout of SODA-D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchtrain.datasets.samples.digit_files import DigitLayout, write_digits


def write_sample(
    out: Path, num_images: int, image_size: int, seed: int, class_names: Sequence[str]
) -> None:
    """Write mosaics as the folder `out`: digits 1 to 9 stand for the nine `class_names`, 0 for
    regions to be ignored. See `write_digits`.
    """
    layout = DigitLayout(
        annotations="Annotations/{}.json",
        images="Images/{}",
        categories=dict(enumerate((*class_names, "ignore"), 1)),
        category_of=lambda digit: digit or 10,
    )
    write_digits(out, num_images, image_size, seed, layout)
