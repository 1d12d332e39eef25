"""What `evaluate` writes about segmented images.

Shapes: S image side in px.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patchtrain.datasets.targets.masks import MaskFiles
from patchtrain.files import atomic_path
from patchtrain.images import unfit_square
from patchtrain.tasks.predictions import PicturePredictions, Predicted
from patchtrain.tasks.segmentation.confusion import pooled_metrics
from patchtrain.tasks.segmentation.picture import MaskPicture, draw_masks

_MAX_PICTURES = 4


class MaskPredictions(PicturePredictions):
    """Per image its metrics and its mask, a PNG of the image's own size; and a figure of the first
    few images: image, truth, prediction, difference.
    """

    def __init__(self, folder: Path, split: str, class_names: Sequence[str]) -> None:
        super().__init__(folder, split, class_names)
        self._pictures: list[MaskPicture] = []

    def _columns(self, image: Predicted) -> dict[str, Any]:
        example, truth = image.example, np.asarray(image.target)
        assert isinstance(example.target, MaskFiles)
        with example.open() as source:
            own_size = unfit_square(image.output, source.height, source.width)
        path = self._aside / f"{example.image_id}.png"
        example.target.reader.drawn(own_size).save(path)
        if len(self._pictures) < _MAX_PICTURES:
            self._pictures.append(MaskPicture(example.image_id, image.pixels, truth, image.output))
        return {"mask": self._named(path), **pooled_metrics(image.score)}

    def _finish(self) -> None:
        with atomic_path(self._folder / "predictions.png") as temporary:
            draw_masks(self._pictures, self._class_names, temporary)
        super()._finish()
