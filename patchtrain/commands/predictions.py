"""What `patchtrain evaluate` writes about each image, batch by batch.

Shapes: B batch, S image side in px, K classes.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patchtrain.batch import HostBatch
from patchtrain.commands.mask_figure import MaskPicture, draw_masks
from patchtrain.datasets import Example
from patchtrain.datasets.masks import MaskFiles
from patchtrain.images import open_image, unfit_square
from patchtrain.record import atomic_path
from patchtrain.tasks import Segmentation
from patchtrain.tasks.confusion import pooled_metrics

_MAX_PICTURES = 4


class Predictions(ABC):
    """Collects rows of predictions.parquet, which is written when the block ends well."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._rows: list[dict[str, Any]] = []

    def add(self, examples: Sequence[Example], batch: HostBatch, outputs: np.ndarray) -> None:
        """Take the outputs [B, ...] of some examples, whose images are `batch`."""
        for number, (example, output) in enumerate(zip(examples, outputs, strict=True)):
            row = {"image_id": example.image_id, "split": self._split}
            self._rows.append(row | self._columns(example, batch, number, output))

    @abstractmethod
    def _columns(
        self, example: Example, batch: HostBatch, number: int, output: np.ndarray
    ) -> dict[str, Any]:
        """Return the further columns of image `number` of `batch`."""

    def _finish(self) -> None:  # noqa: B027
        """Write what else there is: here nothing."""

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self._finish()
            with atomic_path(self._folder / "predictions.parquet") as temporary:
                pq.write_table(pa.Table.from_pylist(self._rows), temporary)


class ClassPredictions(Predictions):
    """Per image: target, predicted and the probability of each class."""

    def _columns(
        self, example: Example, batch: HostBatch, number: int, output: np.ndarray
    ) -> dict[str, Any]:
        shifted = np.exp(output - output.max())
        probabilities = shifted / shifted.sum()
        return {
            "target": example.target,
            "predicted": int(output.argmax()),
            **{f"probability_{k}": float(value) for k, value in enumerate(probabilities)},
        }


class MaskPredictions(Predictions):
    """Per image: its metrics, its mask as PNG of the image's own size, and pictures of the first
    few: image, truth, prediction, difference.
    """

    def __init__(self, folder: Path, split: str, num_classes: int) -> None:
        super().__init__(folder, split)
        self._task = Segmentation(num_classes)
        self._pictures: list[MaskPicture] = []
        self._masks = folder / "predictions"
        shutil.rmtree(self._masks, ignore_errors=True)
        self._masks.mkdir()

    def _columns(
        self, example: Example, batch: HostBatch, number: int, output: np.ndarray
    ) -> dict[str, Any]:
        truth = np.asarray(batch.targets[number])
        assert isinstance(example.target, MaskFiles)
        with open_image(example.path) as source:
            own_size = unfit_square(output, source.height, source.width)
        path = self._masks / f"{example.image_id}.png"
        with atomic_path(path) as temporary:
            example.target.reader.drawn(own_size).save(temporary, format="PNG")
        if len(self._pictures) < _MAX_PICTURES:
            self._pictures.append(
                MaskPicture(example.image_id, batch.images[number], truth, output)
            )
        (confusion,) = self._task.score(output[None], [truth])
        return {"mask": f"{self._masks.name}/{path.name}", **pooled_metrics(confusion)}

    def _finish(self) -> None:
        draw_masks(self._pictures, self._task.num_classes, self._folder / "predictions.png")
