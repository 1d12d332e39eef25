"""What `patchtrain evaluate` writes about each image, batch by batch.

Shapes: B batch, S image side in px, K classes.
"""

from __future__ import annotations

import json
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

from patchtrain.batch import HostBatch
from patchtrain.commands.box_figure import FALSE, FOUND, SHOWN_SCORE, draw_boxes, judged
from patchtrain.commands.mask_figure import MaskPicture, draw_masks
from patchtrain.datasets import Example
from patchtrain.datasets.example import FittedTarget
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects
from patchtrain.datasets.targets.masks import MaskFiles
from patchtrain.errors import ConfigError
from patchtrain.images import unfit_square
from patchtrain.record import atomic_path
from patchtrain.tasks.confusion import pooled_metrics

_MAX_PICTURES = 4
_MAX_DRAWN = 24
"""Pictures with boxes; each takes a second."""


class Predicted(NamedTuple):
    """One image and what was predicted of it."""

    example: Example
    pixels: np.ndarray
    """uint8 [S, S, 3]"""
    target: FittedTarget
    output: np.ndarray
    """Class scores [K], the class of each pixel uint8 [S, S], or detections [D, 6]."""
    score: Any
    """See `Task.score`."""


class Predictions(ABC):
    """Collects rows of predictions.parquet, which is written when the block ends well."""

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
        """Take the outputs [B, ...] of some examples, see `trainer.OnOutputs`."""
        parts = zip(examples, batch.images, batch.targets, outputs, scores, strict=True)
        for image in (Predicted(*part) for part in parts):
            row = {"image_id": image.example.image_id, "split": self._split}
            self._rows.append(row | self._columns(image))

    @abstractmethod
    def _columns(self, image: Predicted) -> dict[str, Any]:
        """Return the further columns of an image."""

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
        try:
            if error_type is None:
                self._finish()
                with atomic_path(self._folder / "predictions.parquet") as temporary:
                    pq.write_table(_table(self._rows), temporary)
        finally:
            self._clean_up()

    def _clean_up(self) -> None:  # noqa: B027
        """Remove what is only half there: here nothing."""


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return `rows` as a table; a metric that no image has is a number all the same."""
    table = pa.Table.from_pylist(list(rows))
    fields = [
        pa.field(field.name, pa.float64() if pa.types.is_null(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


class ClassPredictions(Predictions):
    """Per image: target, predicted and the probability of each class."""

    def _columns(self, image: Predicted) -> dict[str, Any]:
        shifted = np.exp(image.output - image.output.max())
        probabilities = shifted / shifted.sum()
        return {
            "target": image.target,
            "predicted": int(image.output.argmax()),
            **{f"probability_{k}": float(value) for k, value in enumerate(probabilities)},
        }


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


class MaskPredictions(PicturePredictions):
    """Per image: its metrics, its mask as PNG of the image's own size, and a figure of the first
    few: image, truth, prediction, difference.
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


class BoxPredictions(PicturePredictions):
    """Per image: how many objects it has, were found and were found wrongly; all detections as
    detections.json, COCO's format for results; and pictures of the first images with boxes.

    An image_id counts within its file of annotations, so images of several files have their
    detections in one file each, such as detections_instances_val2017.json.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        class_names: Sequence[str],
        category_numbers: Sequence[int],
    ) -> None:
        super().__init__(folder, split, class_names)
        self._category_numbers = category_numbers
        self._results: dict[Path, list[dict[str, Any]]] = {}
        self._num_drawn = 0

    def _columns(self, image: Predicted) -> dict[str, Any]:
        example, target = image.example, image.target
        assert isinstance(example.target, Annotation) and isinstance(target, FittedObjects)
        results = self._results.setdefault(example.target.source, [])
        for *box, score, label in image.score.detections.tolist():
            left, top, right, bottom = (round(value, 3) for value in box)
            results.append(
                {
                    "image_id": example.target.number,
                    "category_id": self._category_numbers[int(label)],
                    "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
                    "score": round(score, 6),
                }
            )
        detections = image.output[image.output[:, 4] > 0]
        sure = detections[detections[:, 4] >= SHOWN_SCORE]
        of_objects, of_detections = judged(target.objects, sure)
        picture = None
        if self._num_drawn < _MAX_DRAWN:
            path = self._aside / f"{example.image_id}.jpg"
            draw_boxes(image.pixels, target.objects, sure, self._class_names, path)
            picture, self._num_drawn = self._named(path), self._num_drawn + 1
        return {
            "picture": picture,
            "num_detections": len(detections),
            "num_objects": int((~target.objects.ignored).sum()),
            "num_found": of_objects.count(FOUND),
            "num_false": of_detections.count(FALSE),
        }

    def _finish(self) -> None:
        earlier = set(self._folder.glob("detections_*.json")) | {self._folder / "detections.json"}
        written: set[Path] = set()
        for source, results in sorted(self._results.items()):
            name = f"detections_{source.stem}" if len(self._results) > 1 else "detections"
            path = self._folder / f"{name}.json"
            if path in written:  # files of one name in several folders
                path = self._folder / f"{name}_{len(written)}.json"
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(results))
            written.add(path)
        for path in earlier - written:
            path.unlink(missing_ok=True)
        super()._finish()
