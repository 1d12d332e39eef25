"""What `evaluate` writes about images with detected objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchtrain.datasets.targets.boxes import Annotation, FittedObjects
from patchtrain.files import atomic_path
from patchtrain.tasks.detection.picture import FALSE, FOUND, SHOWN_SCORE, draw_boxes, judged
from patchtrain.tasks.predictions import PicturePredictions, Predicted

_MAX_DRAWN = 24
"""At most this many pictures with boxes, as each takes a second."""


class BoxPredictions(PicturePredictions):
    """Per image the number of objects, of found ones and of false detections; all detections in
    detections.json, COCO's format for results; and pictures of the first images with boxes.

    COCO's image_ids are unique only within a file of annotations. So with several such files the
    detections go to one file for each, such as detections_instances_val2017.json.
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
            if path in written:  # files of the same name in several folders
                path = self._folder / f"{name}_{len(written)}.json"
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(results))
            written.add(path)
        for path in earlier - written:
            path.unlink(missing_ok=True)
        super()._finish()
