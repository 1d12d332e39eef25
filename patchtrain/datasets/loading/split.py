"""Divides examples into train, val and test, at random or by a file; reads no images."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.listing import SPLITS
from patchtrain.datasets.finding.names import match_names, nearly
from patchtrain.datasets.finding.tables import read_table
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.errors import DataError
from patchtrain.files import atomic_path

Assignment = Mapping[str, str]
"""image_id -> name of the split."""


def draw_split(
    examples: Iterable[Example], val_fraction: float, test_fraction: float, seed: int
) -> Assignment:
    """Draw a split in which each class has about the same share of val and test.

    The order of the examples does not matter, and leaving one image out moves few others. The
    totals are the fractions of all images, rounded (at least 1 if the fraction is above 0). Every
    class keeps an image for training, and gets one for val (then test) if it has enough and the
    total allows. Images with masks or boxes all belong to one class here.
    """
    by_class: dict[int, list[str]] = defaultdict(list)
    for example in examples:
        by_class[example.stratum].append(example.image_id)
    shuffled = [
        sorted(by_class[stratum], key=lambda image_id: _draw(seed, image_id))
        for stratum in sorted(by_class)
    ]
    sizes = [len(image_ids) for image_ids in shuffled]
    num_val = _share_out(sizes, val_fraction, [size - 1 for size in sizes])
    left = [size - 1 - taken for size, taken in zip(sizes, num_val, strict=True)]
    num_test = _share_out(sizes, test_fraction, left)
    assignment: dict[str, str] = {}
    for image_ids, val, test in zip(shuffled, num_val, num_test, strict=True):
        names = ["val"] * val + ["test"] * test
        names += ["train"] * (len(image_ids) - len(names))
        assignment |= dict(zip(image_ids, names, strict=True))
    return assignment


def complete_split(
    examples: Sequence[Example],
    parts: Mapping[str, str],
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> Assignment:
    """Return the data set's own split, and draw the splits it lacks from its training images.

    Args:
        examples: the images to divide.
        parts: image_id -> split, as given by the data set; all other images are training images.
            A fraction is ignored if any image has that split.
    """
    own = set(parts.values())
    assignment = {e.image_id: parts.get(e.image_id, "train") for e in examples}
    pool = [e for e in examples if assignment[e.image_id] == "train"]
    drawn = draw_split(
        pool, 0 if "val" in own else val_fraction, 0 if "test" in own else test_fraction, seed
    )
    return {**assignment, **drawn}


def read_split(path: Path, known_ids: Iterable[str]) -> Assignment:
    """Read a split from a CSV file with the columns image_id and split.

    Images that are not in it are not used.

    Raises:
        DataError: no such table, an id is unknown, empty or listed twice, or a split is unknown.
    """
    known = set(known_ids)
    rows = read_table(path, ("image_id", "split"))
    meant = match_names((row.values["image_id"] for row in rows), known)
    assignment: dict[str, str] = {}
    for line, values in rows:
        written, split = values["image_id"], values["split"]
        where = f"{path} line {line}: image_id {written!r}"
        if written not in meant:
            near = nearly(written, known)
            raise DataError(f"{where} is not in the data set{near}; correct or remove the line")
        image_id = meant[written]
        if image_id in assignment:
            raise DataError(f"{where} is listed twice; remove one of the lines")
        if split not in SPLITS:
            raise DataError(f"{where} has split {split!r}; use one of {', '.join(SPLITS)}")
        assignment[image_id] = split
    return assignment


def write_split(path: Path, data: ImageData) -> None:
    """Write the split of `data` as a CSV file for `read_split`, as a whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_id", "split"))
        for split in SPLITS:
            writer.writerows((example.image_id, split) for example in getattr(data, split))


def _draw(seed: int, image_id: str) -> bytes:
    """Return a sort key that shuffles the images; equal on all machines and versions."""
    return hashlib.sha256(f"{seed} {image_id}".encode()).digest()


def _share_out(sizes: Sequence[int], fraction: float, limits: Sequence[int]) -> list[int]:
    """Return how many images to take of each class: `fraction` of all, at most `limits`."""
    total = max(1, round(sum(sizes) * fraction)) if fraction > 0 else 0
    taken = [0] * len(sizes)
    for _ in range(min(total, sum(limits))):
        open_classes = [c for c in range(len(sizes)) if taken[c] < limits[c]]
        # first one to every class, then to the class furthest below its share
        neediest = max(open_classes, key=lambda c: (taken[c] == 0, sizes[c] * fraction - taken[c]))
        taken[neediest] += 1
    return taken
