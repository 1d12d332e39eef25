"""A detector's head of the user's own: one convolution, scores and boxes, no centerness."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from patchtrain.tasks.detection.assignment import UNCOUNTED, assign
from patchtrain.tasks.detection.head import ObjectHead


class Found(NamedTuple):
    logits: torch.Tensor
    sides: torch.Tensor


class OneLayer(ObjectHead):
    """Classes, and the distances of each location to the four sides of its box."""

    halo_cells = 1

    def __init__(self, num_features, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.read = nn.Conv2d(num_features, num_classes + 4, 3, padding=1)

    def forward(self, levels):
        rows = [self.read(level).flatten(2).transpose(1, 2) for level in levels]
        logits, sides = torch.cat(rows, dim=1).split([self.num_classes, 4], dim=-1)
        return Found(logits, functional.softplus(sides))

    def assign(self, objects, regions):
        return assign(objects, regions)

    def loss(self, outputs, labels, boxes, where):
        logits = outputs.logits.float()
        wanted = (labels[..., None] == torch.arange(self.num_classes, device=labels.device)).float()
        errors = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        counted = (labels != UNCOUNTED).float()[..., None]
        distances = (self.boxes(outputs, where) - boxes).abs() / where.strides[:, None]
        answers = (labels >= 0).float()[..., None]
        return (errors * counted).sum() + (distances * answers).sum()

    def boxes(self, outputs, where):
        sides = outputs.sides.float() * where.strides[:, None]
        low, high = where.places - sides[..., :2], where.places + sides[..., 2:]
        return torch.cat([low, high], dim=-1)

    def scores(self, outputs):
        return outputs.logits.float().sigmoid()
