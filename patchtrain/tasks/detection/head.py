"""The contract of a detector's head: maps of features to classes and boxes of their locations.

One head is one file and one entry in `catalog.HEADS`. A location is a cell of one level of the
feature pyramid and answers for at most one object. Losses have a fixed shape: what does not count
is masked, not left out, so a step allocates the same whatever the images show.

Shapes: c images or windows, L locations of all levels, d features, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

from torch import Tensor, nn

from patchtrain.datasets.targets.boxes import Objects
from patchtrain.tasks.detection.assignment import Assigned, Region

Outputs: TypeAlias = Any
"""A head's outputs for locations: a NamedTuple of tensors [c, L, ...]."""


class Locations(NamedTuple):
    """Where locations lie, on the device."""

    places: Tensor
    """x and y in px, [c, L, 2]."""
    strides: Tensor
    """Stride of the level in px, [L]."""


class ObjectHead(nn.Module, ABC):
    """Reads the maps of a feature pyramid.

    Made as `Head(num_features, num_classes)`.
    """

    halo_cells: ClassVar[int]
    """How many cells beyond a location its outputs depend on."""

    @classmethod
    def check_features(cls, num_features: int) -> None:
        """Refuse a number of features that the head cannot read; by default it reads any.

        Raises:
            ConfigError: names `latent_channels` and the rule.
        """

    @abstractmethod
    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """Return the outputs [c, L, ...] of all locations, given a map c x d x h x w a level."""

    @abstractmethod
    def assign(self, objects: Objects, regions: list[Region]) -> Assigned:
        """Return what the locations in `regions`, one for each level, should find; on the host."""

    @abstractmethod
    def loss(self, outputs: Outputs, labels: Tensor, boxes: Tensor, where: Locations) -> Tensor:
        """Return the loss summed over locations, a scalar.

        Args:
            outputs: what `forward` gave.
            labels: class numbers, `BACKGROUND` or `UNCOUNTED`, int64 [c, L].
            boxes: of the objects to find, in px, [c, L, 4].
            where: the locations.
        """

    @abstractmethod
    def boxes(self, outputs: Outputs, where: Locations) -> Tensor:
        """Return the box that each location predicts, in px, [c, L, 4]."""

    @abstractmethod
    def scores(self, outputs: Outputs) -> Tensor:
        """Return the score of each class at each location, 0 to 1, [c, L, K]."""
