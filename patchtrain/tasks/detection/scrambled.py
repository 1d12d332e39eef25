"""How the authors' code reads the maps of all patches in detection: mixed up (docs/paper.md).

Shapes: m n grid, d features, h side of a level in cells; L cells of an input, over all levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from patchtrain.tasks.detection.detectors import DetectionHead, as_maps
from patchtrain.tasks.detection.reader import DetectionReader, Lesson, Piece


class RandomConvolution(nn.Module):
    """A convolution of one cell, num_channels x h x w to the same, that is never trained."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        drawn = nn.Conv2d(num_channels, num_channels, 1)
        self.weight: Tensor
        self.bias: Tensor
        for name, value in drawn.named_parameters():
            self.register_buffer(name, value.detach())

    def forward(self, maps: Tensor) -> Tensor:
        """Return the convolved `maps`."""
        return nn.functional.conv2d(maps, self.weight, self.bias)


class ScrambledHead(DetectionHead):
    """Makes a single map of the maps of all patches and of the global patch, and runs the head that
    finds objects.

    Of each level, the maps [mn + 1, d, h, h] are read as [h, h, d (mn + 1)], as they lie in memory;
    a convolution of one cell runs twice over the first axis, and the largest of every mn + 1 values
    in a row stays. These convolutions are random and are not trained.
    """

    def __init__(
        self, name: str, num_features: int, num_classes: int, sides: Sequence[int], num_maps: int
    ) -> None:
        """Args:
        name, num_features, num_classes: see `DetectionHead`.
        sides: h of each level.
        num_maps: mn + 1.
        """
        super().__init__(name, num_features, num_classes, 0)
        self._sides = sides
        self._num_maps = num_maps
        self.mixing = nn.ModuleList(RandomConvolution(side) for side in sides)

    def mixed(self, features: Tensor) -> Tensor:
        """Return the single map [1, L, d] of the `features` [mn + 1, L, d]."""
        levels = []
        for maps, mix in zip(as_maps(features, self._sides), self.mixing, strict=True):
            side = maps.shape[-1]
            mixed_up = maps.reshape(side, side, -1)
            largest = nn.functional.max_pool1d(mix(mix(mixed_up)), self._num_maps)
            levels.append(largest.reshape(-1, side * side).T)
        return torch.cat(levels)[None]


class ScrambledReader(DetectionReader):
    """Learns with the head alone: no gradient reaches the maps. The loss of centerness, which their
    code leaves out, counts in the value alone.
    """

    def _one_map(self, tiles: Tensor, context: Tensor | None, sampled: Any) -> Tensor:
        head = self._head
        assert isinstance(head, ScrambledHead) and context is not None
        with torch.no_grad(), self._autocast():
            return head.mixed(torch.cat([tiles, context[None]]))

    def _learn_one_map(self, image: int, pieces: Sequence[Piece], lesson: Lesson) -> Tensor:
        given = lesson.given
        assert given.latent is not None
        (piece,) = pieces
        context = given.global_of(image, lesson.features)
        outputs = self._read(self._one_map(given.latent.of_image(image), context, None))
        if hasattr(outputs, "centerness"):
            outputs = outputs._replace(centerness=outputs.centerness.detach())
        loss = self._loss(outputs, piece) * lesson.share
        del outputs
        lesson.scaled(loss).backward()
        return loss.detach()
