"""What `patchtrain evaluate` writes about each image, batch by batch.

Each task adds its own columns and files.

Shapes: B batch, S image side in px, K classes.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patchtrain.datasets import Example
from patchtrain.datasets.example import FittedTarget
from patchtrain.errors import ConfigError
from patchtrain.files import atomic_path
from patchtrain.step.batch import HostBatch


class Predicted(NamedTuple):
    """One image and its prediction."""

    example: Example
    pixels: np.ndarray
    """uint8 [S, S, 3]"""
    target: FittedTarget
    output: np.ndarray
    """Class scores [K], the class of each pixel uint8 [S, S], or detections [D, 6]."""
    score: Any
    """See `Task.score`."""


class Predictions(ABC):
    """Collects the rows of predictions.parquet and writes it if the block raises no error."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        examples: Sequence[Example],
        batch: HostBatch,
        outputs: np.ndarray,
        scores: Sequence[Any],
    ) -> None:
        """Add the outputs [B, ...] of some examples; see `epoch.OnOutputs`."""
        parts = zip(examples, batch.images, batch.targets, outputs, scores, strict=True)
        for image in (Predicted(*part) for part in parts):
            row = {"image_id": image.example.image_id, "split": self._split}
            self._rows.append(row | self._columns(image))

    @abstractmethod
    def _columns(self, image: Predicted) -> dict[str, Any]:
        """Return the task's own columns for an image."""

    def _finish(self) -> None:  # noqa: B027
        """Write further files; by default there are none."""

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error_type is None:
                self._finish()
                with atomic_path(self._folder / "predictions.parquet") as temporary:
                    pq.write_table(_table(self._rows), temporary)
        finally:
            self._clean_up()

    def _clean_up(self) -> None:  # noqa: B027
        """Remove unfinished files; by default there are none."""


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return `rows` as a table; a metric undefined for every image still gets a number column."""
    table = pa.Table.from_pylist(list(rows))
    fields = [
        pa.field(field.name, pa.float64() if pa.types.is_null(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


class PicturePredictions(Predictions):
    """Predictions with pictures, in the folder `predictions`, which appears whole or not at all."""

    def __init__(self, folder: Path, split: str, class_names: Sequence[str]) -> None:
        super().__init__(folder, split)
        self._class_names = class_names
        self._pictures_folder = folder / "predictions"
        if self._pictures_folder.exists() and not self._pictures_folder.is_dir():
            raise ConfigError(
                f"{self._pictures_folder}: is in the way of the predictions; move it away"
            )
        for left_over in folder.glob(".predictions.*.tmp"):  # of a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        self._aside = folder / f".predictions.{os.getpid()}.tmp"
        self._aside.mkdir()

    def _named(self, path: Path) -> str:
        """Return the name of a picture relative to the folder of the trial."""
        return f"{self._pictures_folder.name}/{path.name}"

    def _finish(self) -> None:
        shutil.rmtree(self._pictures_folder, ignore_errors=True)
        self._aside.rename(self._pictures_folder)

    def _clean_up(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)
