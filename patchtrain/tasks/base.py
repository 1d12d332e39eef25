"""The two contracts of a task: `Task` (predictions and the metrics they earn) and `Reader` (from
features to a loss, gradients and outputs).

A method decides what runs through the backbone; a reader decides what happens to the features: where
they lie, how the global ones join them, which loss they give. One reader a task. Knows nothing of
optimizers, epochs or files.

Shapes: B batch, N inputs of a pass, m n grid, k sampled, p patch side in px, d features; F features
of an input: d numbers in classification, d x h x w maps in segmentation, L cells x d in detection;
O outputs of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from patchtrain.step.batch import DeviceFeeder, HostBatch
from patchtrain.config import TrialConfig
from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.encoder import Encoded, Representative

if TYPE_CHECKING:
    from patchtrain.models import Network

Scaled = Callable[[Tensor], Tensor]
"""Makes of a loss what is differentiated."""


class Task(Protocol):
    """What is predicted. Stateless."""

    metric_name: str
    """The metric that sweeps maximise; a key of `metrics`."""
    num_classes: int

    def score(self, outputs: np.ndarray, targets: Sequence[Any]) -> Sequence[Any]:
        """Return of each image of a batch what `metrics` needs.

        Args:
            outputs: what `Engine.predict` gives.
            targets: of the same images, as the data set has them.
        """
        ...

    def metrics(self, scores: Sequence[Any]) -> Mapping[str, float | None]:
        """Return every metric over all images; None where it is undefined."""
        ...


@dataclass(frozen=True)
class ReaderTools:
    """What a reader works with."""

    network: Network
    feeder: DeviceFeeder
    guard: MemoryGuard
    autocast: Callable[[], AbstractContextManager[object]]
    """Makes the context of mixed precision."""
    to_host: Callable[[Tensor], np.ndarray]
    """Copies outputs to the host."""
    representative: Representative
    """Which of alike parts to go through; whoever only counts memory leaves out repeats."""


@dataclass(frozen=True)
class Pass:
    """What the inputs of a training pass are: image by image, k patches and perhaps the whole image
    resized to a patch, or the whole image alone.
    """

    batch: HostBatch
    positions: np.ndarray | None = None
    """[B, k] of the grid; None: whole images."""
    has_global: bool = False
    latent: LatentBlock | None = None
    """Z, filled with all patches of the batch, where the method keeps it."""

    @property
    def inputs_per_image(self) -> int:
        """Inputs that belong to one image."""
        return 1 if self.positions is None else self.positions.shape[1] + self.has_global


class Reader(ABC):
    """Reads features by the network's head."""

    def __init__(self, config: TrialConfig, tools: ReaderTools) -> None:
        self._config = config
        self._network = tools.network
        self._feeder = tools.feeder
        self._guard = tools.guard
        self._autocast = tools.autocast
        self._to_host = tools.to_host
        self._representative = tools.representative

    def _put_sampled(self, features: Tensor, of: Pass) -> None:
        """Put into Z, where the method keeps one, the values of what was sampled of `features`
        [N, F].
        """
        if of.latent is None:
            return
        assert of.positions is not None
        by_image = features.unflatten(0, (len(of.batch), of.inputs_per_image))
        sampled = by_image[:, : of.positions.shape[1]]
        of.latent.put(self._feeder.targets(of.positions), sampled)

    @abstractmethod
    def learn(self, encoded: Encoded, of: Pass, scaled: Scaled) -> Tensor:
        """Add the gradients of the loss of a pass to all parameters', put the features of sampled
        patches into Z, and return the loss: the mean over images, a scalar without gradient.
        """

    @abstractmethod
    def read_whole(self, features: Tensor) -> np.ndarray:
        """Return the outputs [B, O] of whole images that have `features` [B, F]."""

    @abstractmethod
    def read_latent(self, latent: LatentBlock, global_features: Tensor | None) -> np.ndarray:
        """Return the outputs [B, O] of images with all their patches in Z, and the features
        [B, F] of the images as patches.
        """


class PatchReader(Reader):
    """A reader for which a patch alone has outputs: its part of those of the image."""

    @abstractmethod
    def read_patches(self, features: Tensor, places: np.ndarray) -> Any:
        """Return, on the host, what patches say for themselves, given their `features` [N, F] and
        `places` [N, 3]: image, top and left in px.
        """

    @abstractmethod
    def put_together(self, parts: Sequence[Any], num_images: int) -> np.ndarray:
        """Return the outputs [B, O] of images, given what `read_patches` said of their patches."""
