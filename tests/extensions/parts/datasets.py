"""A data set: `labels.csv` with the columns file and colour, and the images in `images/`."""

from __future__ import annotations

import csv

import numpy as np
from PIL import Image

from patchtrain.catalog import DatasetFacts
from patchtrain.datasets import DataSet, Example, Listing
from patchtrain.datasets.finding.folders import check_data_dir
from patchtrain.datasets.finding.tables import read_table
from patchtrain.datasets.samples.files import check_numbers, new_folder
from patchtrain.errors import DataError

_COLOURS = ("red", "green", "blue")


class Colours(DataSet):
    """Which colour is an image?"""

    facts = DatasetFacts(task="classification", defaults={"image_size": 128})
    layout = "labels.csv (file, colour) and images/"

    def class_names(self, config):
        """Return the colours."""
        return _COLOURS

    def list_images(self, config, data_dir):
        """Return the images that labels.csv lists."""
        check_data_dir(data_dir, self.layout)
        path = data_dir / "labels.csv"
        examples = []
        for line, row in read_table(path, ("file", "colour")):
            if row["colour"] not in _COLOURS:
                raise DataError(f"{path} line {line}: {row['colour']!r} is not in {_COLOURS}")
            image = data_dir / "images" / row["file"]
            examples.append(Example(image.stem, image, _COLOURS.index(row["colour"])))
        examples.sort(key=lambda example: example.image_id)
        return Listing(examples=tuple(examples), class_names=_COLOURS)

    def write_sample(self, out, num_images, image_size, seed):
        """Write noise that is brighter in one channel."""
        check_numbers(num_images, image_size, seed)
        random = np.random.default_rng(seed)
        rows = []
        with new_folder(out) as folder:
            (folder / "images").mkdir()
            for number in range(num_images):
                pixels = random.integers(0, 128, (image_size, image_size, 3), dtype=np.uint8)
                pixels[..., number % 3] += 100
                Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
                rows.append((f"{number:03d}.png", _COLOURS[number % 3]))
            with (folder / "labels.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("file", "colour"), *rows])
