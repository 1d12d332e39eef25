"""Finds boxes in what a head says: candidates of each level, merged into detections.

Shapes: c pieces read at once, L locations of all levels, T candidates, K classes, D detections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from patchtrain.config import TrialConfig
from patchtrain.memory.meter import INPUT
from patchtrain.tasks.base import ReaderTools
from patchtrain.tasks.detection.head import Locations, ObjectHead, Outputs

SCORE_THRESHOLD = 0.05
NMS_IOU = 0.6
CANDIDATES_PER_LEVEL = 1000
"""Of a piece, before non-maximum suppression. All three are FCOS's (torchvision's threshold: 0.2).
"""


class Finder:
    """Turns the head's outputs into detections in px of the image.

    Args:
        head: what reads outputs as scores and boxes.
        sides: cells along a side of each level.
        strides: of all locations in px, [L], on the device.
        scale: px of the image for each px in which the locations are counted.
    """

    def __init__(
        self,
        config: TrialConfig,
        tools: ReaderTools,
        *,
        head: ObjectHead,
        sides: Sequence[int],
        strides: Tensor,
        scale: float,
    ) -> None:
        self._image_size = config.image_size
        self._max_detections = config.max_detections
        self._feeder = tools.feeder
        self._guard = tools.guard
        self._to_host = tools.to_host
        self._head = head
        self._sides = sides
        self._strides = strides
        self._scale = scale

    def candidates(self, outputs: Outputs, places: np.ndarray) -> np.ndarray:
        """Return the surest candidates of each level, on the host: float32 [c, T, 6], box in px of
        the image, score and class.

        Args:
            places: x and y of the locations, float32 [c, L, 2].
        """
        scores = self._head.scores(outputs)
        where = Locations(self._feeder.constants(places, INPUT), self._strides)
        boxes = self._head.boxes(outputs, where) * self._scale
        num_classes = scores.shape[-1]
        parts, start = [], 0
        for side in self._sides:
            stop = start + side**2
            flat = scores[:, start:stop].flatten(1)
            best, chosen = flat.topk(min(CANDIDATES_PER_LEVEL, flat.shape[1]), dim=1)
            at = (start + chosen // num_classes)[..., None].expand(-1, -1, 4)
            classes = chosen % num_classes
            parts.append(
                torch.cat([boxes.gather(1, at), best[..., None], classes[..., None]], dim=-1)
            )
            start = stop
        return self._to_host(torch.cat(parts, dim=1))

    def detections(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """Return the detections [D, 6] of one image, given its candidates [..., 6]."""
        candidates = self._surest(np.concatenate([part.reshape(-1, 6) for part in found]))
        detections = self.no_detections(1)[0]
        if not len(candidates):  # as in every dry run, whose tensors are empty
            return detections
        with self._guard.on_host():
            boxes, scores, classes = torch.from_numpy(candidates).split([4, 1, 1], dim=1)
            kept = batched_nms(boxes, scores[:, 0], classes[:, 0], NMS_IOU).numpy()
        kept = kept[: len(detections)]
        detections[: len(kept)] = candidates[kept]
        return detections

    def no_detections(self, num_images: int) -> np.ndarray:
        """Return empty detections, float32 [B, D, 6]."""
        return np.zeros((num_images, self._max_detections, 6), np.float32)

    def _surest(self, candidates: np.ndarray) -> np.ndarray:
        """Return the candidates [..., 6] that count, cut to the image, the surest first."""
        candidates = candidates[candidates[:, 4] > SCORE_THRESHOLD]
        limit = np.float32(self._image_size)
        candidates = cut_to(candidates, np.array([0, 0, limit, limit]))
        has_area = np.all(candidates[:, 2:4] > candidates[:, :2], axis=1)
        candidates = candidates[has_area]
        most = len(self._sides) * max(CANDIDATES_PER_LEVEL, self._max_detections)
        return candidates[np.argsort(-candidates[:, 4], kind="stable")[:most]]


def cut_to(candidates: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return `candidates` [..., 6] with their boxes cut to `box` [..., 4]."""
    low = np.concatenate([box[..., :2], box[..., :2]], axis=-1)
    high = np.concatenate([box[..., 2:], box[..., 2:]], axis=-1)
    boxes = candidates[..., :4].clip(low, high).astype(candidates.dtype)
    return np.concatenate([boxes, candidates[..., 4:]], axis=-1)
