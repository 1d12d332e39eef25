"""Every data set of the catalog passes the suite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchtrain.datasets import sampled_names
from patchtrain.testing import DataSetContract

pytestmark = pytest.mark.slow

_SETTINGS = {"coco_mosaic": {"num_classes": 10}}

for _name in sampled_names():
    _values = {"dataset": _name, "settings": _SETTINGS.get(_name, {})}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (DataSetContract,), _values)


class TestImageMasks(DataSetContract):
    dataset = "image_masks"

    def write(self, folder: Path) -> None:
        random = np.random.default_rng(0)
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        for number in range(self.num_images):
            pixels = random.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number:02d}.png")
            mask = (pixels[..., 0] > 128).astype(np.uint8)
            Image.fromarray(mask).save(folder / "masks" / f"{number:02d}.png")
