"""FCOS's losses and boxes, of fixed shape: uncounted locations are masked, none are picked out.

So a step allocates the same whatever the images show, and can be run without them. The values equal
those of `torchvision.models.detection.FCOS` (a test compares).

Shapes: c images or windows, L locations, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from patchtrain.tasks.detection.assignment import UNCOUNTED

_TINY = 1e-7
"""Keeps divisions by areas from dividing by 0, as in torchvision."""


class HeadOutputs(NamedTuple):
    """What FCOS's head says about locations."""

    class_logits: Tensor
    """[c, L, K]"""
    distances: Tensor
    """To left, top, right and bottom of the box, in strides, [c, L, 4]."""
    centerness: Tensor
    """Logits, [c, L, 1]."""


class Losses(NamedTuple):
    """Sums over locations, scalars."""

    classification: Tensor
    boxes: Tensor
    centerness: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.classification + self.boxes + self.centerness


def losses(
    outputs: HeadOutputs, labels: Tensor, boxes: Tensor, places: Tensor, strides: Tensor
) -> Losses:
    """Return focal loss, generalized IoU loss and the cross-entropy of centerness.

    Args:
        labels: class numbers, `BACKGROUND` or `UNCOUNTED`, int64 [c, L].
        boxes: the objects to find, in px, [c, L, 4].
        places: x and y of the locations in px, [c, L, 2].
        strides: the strides of their levels in px, [L].
    """
    logits = outputs.class_logits.float()
    classes = torch.arange(logits.shape[-1], device=labels.device)
    wanted = (labels[..., None] == classes).to(logits.dtype)
    counted = (labels != UNCOUNTED).to(logits.dtype)[..., None]
    focal = (sigmoid_focal_loss(logits, wanted) * counted).sum()

    answers = labels >= 0
    found = decode(outputs.distances.float(), places, strides)
    # where there is nothing to find, compare with a box that has an area
    true = torch.where(answers[..., None], boxes, _around(places, strides))
    overlap = ((1 - _generalized_iou(found, true)) * answers).sum()

    to_left_top, to_right_bottom = places - true[..., :2], true[..., 2:] - places
    shares = torch.minimum(to_left_top, to_right_bottom) / torch.maximum(
        to_left_top, to_right_bottom
    )
    centred = shares.prod(dim=-1).sqrt()
    errors = functional.binary_cross_entropy_with_logits(
        outputs.centerness.float().squeeze(-1), centred, reduction="none"
    )
    return Losses(focal, overlap, (errors * answers).sum())


def decode(distances: Tensor, places: Tensor, strides: Tensor) -> Tensor:
    """Return the boxes [c, L, 4] in px that lie at `distances` around `places`."""
    in_px = distances * strides[:, None]
    return torch.cat([places - in_px[..., :2], places + in_px[..., 2:]], dim=-1)


def scores_of(outputs: HeadOutputs) -> Tensor:
    """Return how sure each class is at each location, [c, L, K]."""
    sure = outputs.class_logits.float().sigmoid() * outputs.centerness.float().sigmoid()
    return sure.sqrt()


def _generalized_iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the generalized IoU (Rezatofighi et al., 2019) of each pair of boxes [..., 4].
    torchvision's picks out the pairs that overlap, so its shapes are not fixed.
    """
    inner = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(
        one[..., :2], other[..., :2]
    )
    outer = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(
        one[..., :2], other[..., :2]
    )
    shared = inner.clamp(min=0).prod(dim=-1)
    around = outer.prod(dim=-1)
    covered = _area(one) + _area(other) - shared
    return shared / (covered + _TINY) - (around - covered) / (around + _TINY)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)


def _around(places: Tensor, strides: Tensor) -> Tensor:
    reach = strides[:, None].to(places.dtype)
    return torch.cat([places - reach, places + reach], dim=-1)
