"""The contract of a task: `TaskParts` gives its network, `Reader`, `Task` and predictions.

A method decides what runs through the backbone; a reader decides what happens to the features:
where they lie, how the global ones join them, which loss they give. Each task has one reader. Knows
nothing of optimizers and epochs.

Shapes: B batch, N inputs of a pass, m n grid, k sampled, p patch side in px, d features; F features
of an input: d numbers in classification, d x h x w maps in segmentation, L cells x d in detection;
O outputs of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.grid.fusion import Fusion
from patchtrain.grid.latent import LatentBlock
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import DeviceFeeder, HostBatch
from patchtrain.step.encoder import Encoded, Representative

if TYPE_CHECKING:
    from torch import nn

    from patchtrain.datasets.example import FittedTarget
    from patchtrain.datasets.loading.image_data import ImageData
    from patchtrain.models import Network
    from patchtrain.tasks.predictions import Predictions

Scaled = Callable[[Tensor], Tensor]
"""Turns a loss into what is differentiated."""


class Task(Protocol):
    """What is predicted. Stateless."""

    metric_name: str
    """The metric that sweeps maximise; a key of `metrics`."""
    num_classes: int

    def score(self, outputs: np.ndarray, targets: Sequence[Any]) -> Sequence[Any]:
        """Return what `metrics` needs for each image of a batch.

        Args:
            outputs: what `Engine.predict` returned.
            targets: the targets of the same images, as the data set gives them.
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
    """Picks the parts to go through out of equal ones; a dry run leaves out repeats."""


@dataclass(frozen=True)
class Pass:
    """What the inputs of a training pass are: for each image in turn, k patches and perhaps the
    whole image resized to a patch, or the whole image alone.
    """

    batch: HostBatch
    positions: np.ndarray | None = None
    """Grid positions of the patches, [B, k]; None: whole images."""
    has_global: bool = False
    """Whether the last input of each image is its global patch."""
    latent: LatentBlock | None = None
    """Z, filled with all patches of the batch, if the method keeps it."""
    filled_global: Tensor | None = None
    """Features [B, F] of the global patches, without gradient, if they ran with the fill of Z."""

    @property
    def inputs_per_image(self) -> int:
        """How many inputs belong to one image."""
        return 1 if self.positions is None else self.positions.shape[1] + self.has_global

    def global_row(self, image: int) -> int:
        """Return which input of the pass is the global patch of `image`."""
        return (image + 1) * self.inputs_per_image - 1

    def global_of(self, image: int, features: Tensor) -> Tensor | None:
        """Return what the global patch of `image` gives [F], out of `features` [N, F] of the pass
        or of the fill; None if there is none.
        """
        if self.has_global:
            return features[self.global_row(image)]
        return None if self.filled_global is None else self.filled_global[image]


class Reader(ABC):
    """Reads features with the network's head."""

    def __init__(self, config: TrialConfig, tools: ReaderTools) -> None:
        self._config = config
        self._network = tools.network
        self._feeder = tools.feeder
        self._guard = tools.guard
        self._autocast = tools.autocast
        self._to_host = tools.to_host
        self._representative = tools.representative

    def _put_sampled(self, features: Tensor, given: Pass) -> None:
        """Put the values of the sampled patches, out of `features` [N, F], into Z, if the method
        keeps one.
        """
        if given.latent is None:
            return
        assert given.positions is not None
        by_image = features.unflatten(0, (len(given.batch), given.inputs_per_image))
        sampled = by_image[:, : given.positions.shape[1]]
        given.latent.put(self._feeder.targets(given.positions), sampled)

    def joining(self, global_features: Tensor) -> Tensor:
        """Return the features [F] of a global patch as they join Z."""
        fusion = self._network.fusion
        return global_features if fusion is None else fusion.scaled(global_features)

    @abstractmethod
    def learn(self, encoded: Encoded, given: Pass, scaled: Scaled) -> Tensor:
        """Add the gradients of a pass's loss to all parameters, put the features of sampled patches
        into Z, and return the loss: the mean over images, a scalar without gradient.

        Args:
            encoded: the features of the pass.
            given: what the inputs of the pass are.
            scaled: turns the loss into what is differentiated.
        """

    @abstractmethod
    def read_whole(self, features: Tensor) -> np.ndarray:
        """Return the outputs [B, O] of whole images, given their `features` [B, F]."""

    @abstractmethod
    def read_latent(self, latent: LatentBlock, global_features: Tensor | None) -> np.ndarray:
        """Return the outputs [B, O] of images, given Z with all their patches and perhaps the
        features [B, F] of their global patches.
        """


class PatchReader(Reader):
    """A reader that can read a patch alone: the outputs are its part of the image's outputs."""

    @abstractmethod
    def read_patches(self, features: Tensor, places: np.ndarray) -> Any:
        """Return, on the host, the outputs of patches read alone, given their `features` [N, F] and
        `places` [N, 3]: image, top and left in px.
        """

    @abstractmethod
    def put_together(self, parts: Sequence[Any], num_images: int) -> np.ndarray:
        """Return the outputs [B, O] of images from those of their patches, see `read_patches`."""


class TaskParts(ABC):
    """Everything that is specific to one task, for the code that all tasks share. Stateless."""

    @abstractmethod
    def check_names(self, config: TrialConfig) -> None:
        """Refuse names of networks that are unknown or do not go together.

        Raises:
            ConfigError: names the setting, its value and the remedy.
        """

    @abstractmethod
    def load_backbone(self, config: TrialConfig) -> nn.Module:
        """Return the backbone with the weights that `config` starts from and its kind of norm.

        Raises:
            ConfigError: unknown names, or weights that cannot be loaded.
        """

    @abstractmethod
    def build_network(self, config: TrialConfig, num_classes: int) -> Network:
        """Return the network of `config`, its weights drawn from torch's global random state.

        Raises:
            ConfigError: unknown names, or weights that cannot be loaded.
        """

    def check_features(  # noqa: B027
        self, config: TrialConfig, network: Network, features: Tensor, batch_size: int
    ) -> None:
        """Refuse a network whose head cannot read `features`, the backbone's on the meta device.

        Raises:
            ConfigError: names the setting, the reason and the remedy.
        """

    def aggregator_name(self, config: TrialConfig) -> str | None:
        """Return the name of the aggregator to train; None for methods without one."""
        return CONV1X1 if config.method_facts.has_latent else None

    def encoder_name(self, config: TrialConfig) -> str | None:
        """Return the encoder inside the backbone; None if the backbone has no named encoder."""
        return None

    def layout_name(self, config: TrialConfig) -> str | None:
        """Return the layout of Z; None if there is no choice."""
        return None

    @abstractmethod
    def build_task(self, config: TrialConfig, num_classes: int) -> Task:
        """Return predictions and metrics, for `num_classes` classes."""

    @abstractmethod
    def build_reader(self, config: TrialConfig, tools: ReaderTools, task: Task) -> Reader:
        """Return the reader of `task`, which `build_task` returned."""

    @abstractmethod
    def blank_target(self, side_px: int) -> FittedTarget:
        """Return the target of an empty image of `side_px`, to run a step without data."""

    def patches_read_at_once(self, config: TrialConfig) -> int | None:
        """Return how many patches of an image the reader goes through at once; None: all."""
        return None

    @abstractmethod
    def open_predictions(self, data: ImageData, folder: Path, split: str) -> Predictions:
        """Return the writer of predictions for the images of `split` into `folder`."""


NUM_CHECKED_CLASSES = 2
"""Classes of the networks that are built without memory, to check that they fit together."""

CONV1X1 = "conv1x1"
"""The aggregator of segmentation and detection: one convolution that sees a cell at a time."""


def build_fusion(config: TrialConfig, num_features: int) -> Fusion | None:
    """Return what joins the global features with a latent block of `num_features` d, if any do."""
    if not config.method_facts.has_global:
        return None
    scale = config.fusion_scale
    return Fusion(config.fusion, num_features, None if isinstance(scale, str) else scale)


def features_of_cell(config: TrialConfig) -> int:
    """Return how many features per cell the aggregator reads, as a multiple of d."""
    return 2 if config.method_facts.has_global and config.fusion == "concat" else 1
