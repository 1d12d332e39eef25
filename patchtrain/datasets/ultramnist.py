"""UltraMNIST (Gupta et al., 2022): digits of very different sizes on a large black image; the class
is their sum.

`train.csv` with the columns image_id (or id, as on Kaggle) and digit_sum, `train/<image_id>.jpeg`;
`valid.csv` and `val/` alike, if there are any: they are the split val. `num_classes` is 28, sums
of 0 to 27, or 10, sums of 0 to 9 (the variant of PatchGD's code).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from patchtrain.catalog.datasets import NUM_SUMS
from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.folders import find_root, is_folder, pictures_in
from patchtrain.datasets.finding.listing import Listing, check_plain_id
from patchtrain.datasets.finding.names import match_names
from patchtrain.datasets.finding.tables import read_table, whole_number
from patchtrain.errors import DataError

_PARTS = {"train": ("train.csv", ("train",)), "val": ("valid.csv", ("val", "valid"))}
"""Split -> its table, and the names that the folder of its images may have."""


class UltraMnist(DataSet):
    """UltraMNIST."""

    layout = "UltraMNIST's train.csv and train/<image_id>.jpeg, perhaps valid.csv and val/ alike"

    def class_names(self, config: TrialConfig) -> tuple[str, ...]:
        """Return the sums, from 0 on."""
        return tuple(map(str, range(config.num_classes or NUM_SUMS[0])))

    def list_images(self, config: TrialConfig, data_dir: Path) -> Listing:
        """Return the images that the tables list."""
        names = self.class_names(config)
        root = find_root(data_dir, lambda folder: (folder / "train.csv").is_file(), self.layout)
        examples: dict[str, Example] = {}
        parts: dict[str, str] = {}
        has_val = os.path.lexists(root / _PARTS["val"][0])
        for split in _PARTS if has_val else ("train",):
            for where, example in self._read(root, split, len(names)):
                image_id = example.image_id
                if image_id in examples:
                    raise DataError(f"{where} is listed twice; remove one of the lines")
                examples[image_id] = example
                if split == "val":
                    parts[image_id] = split
        ordered = tuple(examples[image_id] for image_id in sorted(examples))
        return Listing(examples=ordered, class_names=names, parts=parts)

    def write_sample(self, out: Path, num_images: int, image_size: int, seed: int) -> None:
        """Write generated images of scikit-learn's small scans of digits."""
        from patchtrain.datasets.samples import ultramnist

        ultramnist.write_sample(out, num_images, image_size, seed)

    def _read(self, root: Path, split: str, num_classes: int) -> Iterator[tuple[str, Example]]:
        """Yield the images of a split, each with the place of its line for messages."""
        table, folders = _PARTS[split]
        folder = next((root / name for name in folders if is_folder(root / name)), None)
        folder = folder or root / folders[0]
        pictures = pictures_in(folder, self.layout)
        path = root / table
        rows = read_table(path, ("image_id", "digit_sum"), also={"id": "image_id"})
        meant = match_names((row.values["image_id"] for row in rows), pictures)
        for line, values in rows:
            image_id, digit_sum = values["image_id"], values["digit_sum"]
            where = f"{path} line {line}: image_id {image_id!r}"
            check_plain_id(image_id, where)
            number = whole_number(digit_sum)
            if number is None or number >= num_classes:
                raise DataError(
                    f"{where} has digit_sum {digit_sum!r}; it must be a whole number from 0 to "
                    f"{num_classes - 1}; correct or remove the line, or set num_classes "
                    f"({' or '.join(map(str, NUM_SUMS))}) to fit the data"
                )
            image = folder / f"{image_id}.jpeg"
            if image_id in meant:
                image = pictures[meant[image_id]]
            yield where, Example(image_id, image, number)
