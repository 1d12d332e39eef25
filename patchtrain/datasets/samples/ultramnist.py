"""Writes UltraMNIST (Gupta et al., 2022): three to five digits of very different sizes on a black
square, labelled by their sum.

A digit of 28 px is enlarged 1 to 10 times, small and large being more likely than between (a
V-shaped distribution), and half of those that are not enlarged are shrunk to 14 px. None is larger
than half of the image, and digits do not overlap.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations_with_replacement
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from patchtrain.catalog.datasets import NUM_SUMS
from patchtrain.datasets.samples.files import (
    JPEG_QUALITY,
    MIN_IMAGE_SIZE_PX,
    check_numbers,
    for_each,
    new_folder,
)
from patchtrain.datasets.samples.mnist import SIDE_PX, Digits, read_mnist, scanned_digits
from patchtrain.errors import ConfigError

LARGEST_SCALE = 10
NUM_DIGITS = (3, 4, 5)

_VAL_EVERY = 5
"""Every fifth image is for validation."""
_TRIES = 50
"""Most places tried for a digit before the image is begun again."""
_AT_ONCE = 32
"""Images that a process draws before it reports."""


@dataclass(frozen=True)
class Plan:
    """What all images share."""

    folder: Path
    image_size: int
    seed: int
    num_classes: int
    mnist_dir: Path | None

    def class_of(self, index: int) -> int:
        """Return the sum of image number `index`: each occurs equally often in either part."""
        rank = index // _VAL_EVERY if part_of(index) == "val" else index - index // _VAL_EVERY
        return rank % self.num_classes


def part_of(index: int) -> str:
    """Return the split of image number `index`: `train` or `val`."""
    return "val" if index % _VAL_EVERY == _VAL_EVERY - 1 else "train"


def write_sample(
    out: Path,
    num_images: int,
    image_size: int,
    seed: int,
    *,
    mnist_dir: Path | None = None,
    num_classes: int = NUM_SUMS[0],
    jobs: int | None = None,
    on_images: Callable[[int], None] = lambda num_done: None,
) -> None:
    """Write generated images as the folder `out`.

    `train.csv` and `train/<image_id>.jpeg`, and every fifth image in `valid.csv` and `val/`: grey
    squares of `image_size` px. The sums 0 to `num_classes` - 1 occur equally often in either part.
    A larger `num_images` keeps the first images. What is written does not depend on `jobs`.

    Args:
        mnist_dir: folder of MNIST's idx files, whose digits for testing become those of `val`;
            None: scikit-learn's scans of 8 px.
        jobs: processes; None: this one.
        on_images: called with the number of images that are done.

    Raises:
        ConfigError: a number is out of range, or `out` is not empty or cannot be written.
        DataError: the files in `mnist_dir` cannot be used.
    """
    if image_size < MIN_IMAGE_SIZE_PX:
        raise ConfigError(
            f"image_size={image_size} is too small for {max(NUM_DIGITS)} digits of up to "
            f"{SIDE_PX} px; use at least {MIN_IMAGE_SIZE_PX}"
        )
    check_numbers(num_images, image_size, seed)
    if num_classes not in NUM_SUMS:
        raise ConfigError(
            f"num_classes={num_classes} must be {' or '.join(map(str, NUM_SUMS))}: sums of digits "
            "from 0 on"
        )
    parts = {part_of(index) for index in range(num_images)}
    for part in parts:  # a mistake in the files is found before anything is drawn
        digits_of(mnist_dir, part)
    with new_folder(out) as folder:
        for part in parts:
            (folder / part).mkdir()
        plan = Plan(folder, image_size, seed, num_classes, mnist_dir)
        num_done = 0
        for done in _drawn(plan, num_images, jobs):
            num_done += done
            on_images(num_done)
        for part in parts:
            _write_table(folder, part, [i for i in range(num_images) if part_of(i) == part], plan)


@cache
def digits_of(mnist_dir: Path | None, part: str) -> Digits:
    """Return the digits to draw images of `part` from."""
    return scanned_digits(part) if mnist_dir is None else read_mnist(mnist_dir, part)


@cache
def _addends(digit_sum: int) -> list[tuple[int, ...]]:
    """Return all ways to make the sum of three to five digits, whatever their order."""
    return [
        digits
        for num in NUM_DIGITS
        for digits in combinations_with_replacement(range(10), num)
        if sum(digits) == digit_sum
    ]


def draw_image(
    digits: Digits, digit_sum: int, side_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Return an image of digits with this sum, uint8 [S, S]."""
    while True:
        addends = _addends(digit_sum)
        placed = _placed(digits, addends[rng.integers(len(addends))], side_px, rng)
        if placed is not None:
            return placed


def _placed(
    digits: Digits, values: Iterable[int], side_px: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Return an image of digits with these values; None if one found no free place."""
    image = np.zeros((side_px, side_px), np.uint8)
    taken: list[tuple[int, int, int]] = []
    for value in values:
        scan = digits.images[rng.choice(np.flatnonzero(digits.labels == value))]
        for _ in range(_TRIES):
            drawn = _resized(scan, side_px, rng)
            size = len(drawn)
            top, left = (int(rng.integers(side_px - size + 1)) for _ in range(2))
            if all(_apart((top, left, size), other) for other in taken):
                image[top : top + size, left : left + size] = drawn
                taken.append((top, left, size))
                break
        else:
            return None
    return image


def _resized(scan: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return a digit in a drawn size, by nearest pixels."""
    largest = max(1, min(LARGEST_SCALE, side_px // (2 * SIDE_PX)))
    scales = np.arange(1, largest + 1)
    weights = 0.5 + np.abs(scales - (largest + 1) / 2)  # a V
    scale = int(rng.choice(scales, p=weights / weights.sum()))
    if scale == 1 and rng.random() < 0.5:
        return scan[::2, ::2]
    return scan.repeat(scale, axis=0).repeat(scale, axis=1)


def _apart(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Return whether two squares (top, left, size) do not overlap."""
    return any(
        one[axis] >= other[axis] + other[2] or other[axis] >= one[axis] + one[2] for axis in (0, 1)
    )


def _image_id(index: int) -> str:
    return f"{index:06}"


def _write_image(plan: Plan, index: int) -> None:
    part = part_of(index)
    rng = np.random.default_rng([plan.seed, index])
    digits = digits_of(plan.mnist_dir, part)
    image = draw_image(digits, plan.class_of(index), plan.image_size, rng)
    path = plan.folder / part / f"{_image_id(index)}.jpeg"
    Image.fromarray(image).save(path, quality=JPEG_QUALITY)


def _write_images(plan: Plan, indices: range) -> int:
    """Write these images and return how many they are."""
    for index in indices:
        _write_image(plan, index)
    return len(indices)


def _drawn(plan: Plan, num_images: int, jobs: int | None) -> Iterator[int]:
    """Write all images; yield how many are done, each time that some are."""
    starts = range(0, num_images, _AT_ONCE)
    groups = [range(start, min(start + _AT_ONCE, num_images)) for start in starts]
    if jobs is None:
        yield sum(for_each(groups, partial(_write_images, plan)))
        return
    num_jobs = max(1, min(jobs, len(groups), os.cpu_count() or 1))
    with ProcessPoolExecutor(num_jobs, get_context("spawn")) as pool:
        yield from pool.map(partial(_write_images, plan), groups)


def _write_table(folder: Path, part: str, indices: Iterable[int], plan: Plan) -> None:
    name = "valid.csv" if part == "val" else "train.csv"
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_id", "digit_sum"))
        writer.writerows((_image_id(index), plan.class_of(index)) for index in indices)
