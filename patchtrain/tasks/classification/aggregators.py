"""Aggregators (theta2): networks that read the latent block and return class scores.

Knows nothing of patches, backbones' weights or budgets.

Shapes: B batch, d features (2d when concatenated), m n grid, K classes.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from patchtrain import catalog
from patchtrain.errors import ConfigError
from patchtrain.models.backbones import build_own, check_name, dropout, timm_network

SMALL_CNN = "small_cnn"
ATTENTION = "attention"


def resolve_name(aggregator: str, backbone: str) -> str:
    """Return the aggregator's own name: `same` is the backbone's."""
    return backbone if aggregator == "same" else aggregator


def check_aggregator(name: str) -> None:
    """Refuse a name that is neither ours nor timm's.

    Raises:
        ConfigError: names the value and the nearest known names.
    """
    if name not in _SMALL:
        check_name("aggregator", name)


def build_aggregator(
    name: str, in_features: int, grid_size: int, num_classes: int, drop_rate: float = 0.0
) -> nn.Module:
    """Return the network B x in_features x m x n -> B x K.

    Args:
        name: `small_cnn`, `attention`, a timm name or `package.module:Name` of the user's own.
        grid_size: m = n; decides how far a timm network may shrink the grid.
        drop_rate: see `TrialConfig`.
    """
    check_aggregator(name)
    if name in _SMALL:
        return _SMALL[name](in_features, num_classes, drop_rate)
    if catalog.is_own(name):
        return build_own(
            "aggregator",
            name,
            in_features=in_features,
            grid_size=grid_size,
            num_classes=num_classes,
            **dropout(drop_rate),
        )
    try:
        network = timm_network(
            name, in_chans=in_features, num_classes=num_classes, **dropout(drop_rate)
        )
        paths = layers_to_unstride(name, allowed_reduction(grid_size))
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"aggregator={name!r} cannot read a grid of features ({' '.join(str(error).split())}); "
            f"use a convolutional network, {SMALL_CNN} or {ATTENTION}"
        ) from None
    for path in paths:
        _remove_stride(network, path)
    return network


class SmallCnn(nn.Module):
    """Two 3x3 convolutions, average pooling and a linear layer: PatchGD's kind of head."""

    def __init__(
        self, in_features: int, num_classes: int, drop_rate: float = 0.0, hidden: int = 256
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_features, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(drop_rate),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Return class scores [B, K] of `latent` [B, d, m, n]."""
        return self.layers(latent)


class AttentionPooling(nn.Module):
    """Gated attention over grid cells (Ilse et al. 2018, eq. 9), then a linear layer.

    Blind to where a cell lies, unlike the convolutional aggregators.
    """

    def __init__(
        self, in_features: int, num_classes: int, drop_rate: float = 0.0, hidden: int = 128
    ) -> None:
        super().__init__()
        self.value = nn.Linear(in_features, hidden)
        self.gate = nn.Linear(in_features, hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(in_features, num_classes)

    def forward(self, latent: Tensor) -> Tensor:
        """Return class scores [B, K] of `latent` [B, d, m, n]."""
        cells = latent.flatten(2).transpose(1, 2)
        gated = torch.tanh(self.value(cells)) * torch.sigmoid(self.gate(cells))
        weights = self.score(gated).softmax(dim=1)
        return self.classifier(self.dropout((weights * cells).sum(dim=1)))


_SMALL = {SMALL_CNN: SmallCnn, ATTENTION: AttentionPooling}


def allowed_reduction(grid_size: int) -> int:
    """Return how far a CNN may shrink a grid: by the largest power of 2 that leaves 2 x 2 cells."""
    reduction = 1
    while grid_size // (reduction * 2) >= 2:
        reduction *= 2
    return reduction


@cache
def layers_to_unstride(name: str, max_reduction: int) -> tuple[str, ...]:
    """Return the layers of timm's `name` that must lose their stride so that it shrinks no further
    than `max_reduction`.

    A latent block is small (4 x 4 to 32 x 32 cells): the first strides of a classifier of
    photographs would leave nothing of it, so the first ones are removed and the deepest stay.
    Layers that shrink the same map (a block's convolution and its shortcut) are recognised by the
    size of their input and treated alike.
    """
    strided = _strided_layers(timm_network(name).to("meta").eval())
    kept: set[int] = set()
    reduction = 1
    for side in sorted({layer.input_side for layer in strided}):
        reduction *= max(layer.stride for layer in strided if layer.input_side == side)
        if reduction > max_reduction:
            break
        kept.add(side)
    return tuple(layer.path for layer in strided if layer.input_side not in kept)


class _StridedLayer(NamedTuple):
    """A layer that shrinks its input."""

    path: str
    stride: int
    input_side: int


def _strided_layers(network: nn.Module) -> list[_StridedLayer]:
    """Run an input of a photograph's size through `network` on the meta device and note the layers
    that shrink it.
    """
    found: list[_StridedLayer] = []

    def note(path: str, stride: int, inputs: tuple[Tensor, ...]) -> None:
        found.append(_StridedLayer(path, stride, inputs[0].shape[-1]))

    for path, layer in network.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            stride = _side(layer.stride)
            if stride > 1:
                layer.register_forward_pre_hook(
                    lambda _, inputs, path=path, stride=stride: note(path, stride, inputs)
                )
    network(torch.empty(1, 3, 256, 256, device="meta"))
    return found


def _remove_stride(network: nn.Module, path: str) -> None:
    """Replace the layer at `path` by one with stride 1 that keeps its input's size."""
    parent_path, _, name = path.rpartition(".")
    parent = network.get_submodule(parent_path)
    layer = getattr(parent, name)
    if not isinstance(layer, nn.Conv2d):
        setattr(parent, name, nn.Identity())
        return
    side = _side(layer.kernel_size)
    same = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        side,
        padding=side // 2 if side % 2 else 0,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    same.weight, same.bias = layer.weight, layer.bias
    before = (side - 1) // 2
    padded = nn.Sequential(nn.ZeroPad2d((before, side // 2, before, side // 2)), same)
    setattr(parent, name, same if side % 2 else padded)


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
