"""Feature pyramids and heads from names (detection).

Knows nothing of grids, methods or budgets.

Shapes: N inputs, p side in px, d channels, L cells of all levels, h w cells of a level, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from patchtrain import catalog
from patchtrain.errors import ConfigError
from patchtrain.extension import own_code
from patchtrain.models.backbones import (
    blamed_on,
    build_own_backbone,
    check_name,
    declared,
    prepare,
    timm_network,
)
from patchtrain.tasks.detection.head import ObjectHead, Outputs

STRIDES = (8, 16, 32, 64, 128)
"""Strides of FCOS's levels P3 to P7, in px."""

_OF_BACKBONE = STRIDES[:3]


@dataclass(frozen=True)
class Levels:
    """The levels of a pyramid over a square of `side_px`: those whose cells cover it exactly."""

    side_px: int

    @property
    def strides(self) -> tuple[int, ...]:
        """In px, the finest first."""
        return tuple(stride for stride in STRIDES if self.side_px % stride == 0)

    @property
    def sides(self) -> tuple[int, ...]:
        """Cells along a side of each level."""
        return tuple(self.side_px // stride for stride in self.strides)

    @property
    def num_cells(self) -> int:
        """L"""
        return sum(side**2 for side in self.sides)


def as_maps(features: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Return `features` [c, cells, d] as the maps [c, d, h, h] of each level."""
    return [
        level.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        for side, level in zip(sides, features.split([s**2 for s in sides], dim=1), strict=True)
    ]


def check_detector(backbone: str, head: str, latent_channels: int) -> None:
    """Refuse a name or a number of channels that makes no detector.

    Raises:
        ConfigError: names the field and the remedy.
    """
    check_name("backbone", backbone)
    head_class(head).check_features(latent_channels)


def head_class(name: str) -> type[ObjectHead]:
    """Return the head `name`, one of ours or `package.module:Name` of the user's own."""
    return catalog.implementation("head", name, ObjectHead)


class Pyramid(nn.Module):
    """Backbone and FPN: N x 3 x p x p -> N x L x d, level by level, row by row in each level.

    A cell's channels lie together in memory, so that a window of any place and level is a choice of
    rows.
    """

    def __init__(self, body: nn.Module, channels: Sequence[int], num_features: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(
            list(channels), num_features, extra_blocks=LastLevelP6P7(num_features, num_features)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features [N, L, d]."""
        maps = {str(number): level for number, level in enumerate(self.body(images))}
        num_levels = len(Levels(images.shape[-1]).strides)
        levels = list(self.fpn(maps).values())[:num_levels]
        return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)


class DetectionHead(nn.Module):
    """Reads maps: joins all features of a cell with one convolution, if there are more than its
    own, and runs the head that finds objects.
    """

    def __init__(self, name: str, num_features: int, num_classes: int, num_joined: int) -> None:
        """Args:
        name: see `TrialConfig.head`.
        num_features: d, the channels of the maps that the head reads.
        num_joined: channels to join; 0: none.
        """
        super().__init__()
        self.join = nn.Conv2d(num_joined, num_features, 1) if num_joined else None
        self._name = name.rpartition(":")[2]  # part of the names of saved weights
        kind = head_class(name)
        with own_code("head", name):
            self.add_module(self._name, kind(num_features, num_classes))

    @property
    def objects(self) -> ObjectHead:
        """The head that finds objects."""
        head = self.get_submodule(self._name)
        assert isinstance(head, ObjectHead)
        return head

    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """Return the outputs of locations, given maps N x d x h x w of each level."""
        return self.objects(levels)


def build_pyramid(
    backbone: str, *, num_features: int, weights: str, norm: str, drop_rate: float = 0.0
) -> Pyramid:
    """Return the network N x 3 x p x p -> N x L x d.

    Args:
        num_features: d.
        weights, norm, drop_rate: see `TrialConfig`.

    Raises:
        ConfigError: unknown name, a network without maps of these strides, or weights that cannot
            be loaded.
    """
    check_name("backbone", backbone)
    if drop_rate:
        raise ConfigError(f"drop_rate={drop_rate}: detectors have no dropout; use 0")
    if catalog.is_own(backbone):
        body = build_own_backbone(backbone, weights, drop_rate)
        prepare(body, weights, norm)
        return Pyramid(body, declared(body, backbone, "feature_channels"), num_features)
    body = _body(backbone, weights)
    reductions = tuple(body.feature_info.reduction())  # type: ignore[operator,union-attr]
    channels = body.feature_info.channels()  # type: ignore[operator,union-attr]
    if reductions != _OF_BACKBONE:
        raise ConfigError(
            f"backbone={backbone!r} has maps of strides {reductions}, not {_OF_BACKBONE} px; use "
            "another, e.g. resnet50"
        )
    prepare(body, weights, norm)
    return Pyramid(body, channels, num_features)


def _body(backbone: str, weights: str) -> nn.Module:
    pretrained = weights == "pretrained"
    with blamed_on("backbone", backbone, weights, "returns no maps", instead="resnet50"):
        return timm_network(
            backbone, pretrained=pretrained, features_only=True, out_indices=(-3, -2, -1)
        )
