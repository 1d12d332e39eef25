"""FCOS's head, losses and boxes, of fixed shape: uncounted locations are masked, none picked out.

So a step allocates the same whatever the images show, and can be run without them. The values equal
those of `torchvision.models.detection.FCOS` (a test compares).

Shapes: c images or windows, L locations, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import sigmoid_focal_loss

from patchtrain.datasets.targets.boxes import Objects
from patchtrain.errors import ConfigError
from patchtrain.tasks.detection.assignment import UNCOUNTED, Assigned, Region, assign
from patchtrain.tasks.detection.head import Locations, ObjectHead

NUM_TOWER_CONVS = 4
"""3x3 convolutions in front of the one that gives the outputs."""

_NORM_GROUPS = 32
"""Groups of the head's group norm."""

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


class Fcos(FCOSHead, ObjectHead):
    """FCOS's head, torchvision's: one location for each cell, without anchors."""

    halo_cells = NUM_TOWER_CONVS + 1  # one cell for each 3x3 convolution on the way

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, 1, num_classes, NUM_TOWER_CONVS)

    @classmethod
    def check_features(cls, num_features: int) -> None:
        """Refuse a number of features that group norm cannot divide."""
        if num_features % _NORM_GROUPS or num_features < 2 * _NORM_GROUPS:
            raise ConfigError(
                f"latent_channels={num_features} must be a multiple of {_NORM_GROUPS} from "
                f"{2 * _NORM_GROUPS} up in detection: FCOS's head has group norm; use e.g. 256"
            )

    def forward(self, levels: Sequence[Tensor]) -> HeadOutputs:
        """Return the outputs of locations, given maps N x d x h x w of each level."""
        outputs = FCOSHead.forward(self, list(levels))
        return HeadOutputs(
            outputs["cls_logits"], outputs["bbox_regression"], outputs["bbox_ctrness"]
        )

    def assign(self, objects: Objects, regions: list[Region]) -> Assigned:
        """Return what the locations in `regions` should find, by FCOS's rules."""
        return assign(objects, regions)

    def loss(self, outputs: HeadOutputs, labels: Tensor, boxes: Tensor, where: Locations) -> Tensor:
        """Return the sum of the three losses."""
        return losses(outputs, labels, boxes, *where).total

    def boxes(self, outputs: HeadOutputs, where: Locations) -> Tensor:
        """Return the boxes [c, L, 4] in px."""
        return decode(outputs.distances.float(), *where)

    def scores(self, outputs: HeadOutputs) -> Tensor:
        """Return the scores [c, L, K]."""
        return scores_of(outputs)


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
