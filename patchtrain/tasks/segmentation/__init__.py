"""Segmentation, the class of every pixel: everything that is specific to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from patchtrain.config import TrialConfig
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.errors import ConfigError
from patchtrain.models import Network
from patchtrain.tasks.base import ReaderTools, Task, TaskParts, build_fusion, features_of_cell
from patchtrain.tasks.maps import check_map_aggregator
from patchtrain.tasks.probe import probe
from patchtrain.tasks.segmentation.metrics import Segmentation, outputs_for
from patchtrain.tasks.segmentation.predictions import MaskPredictions
from patchtrain.tasks.segmentation.reader import SegmentationReader, cells_at_once
from patchtrain.tasks.segmentation.segmenters import (
    Segmenter,
    build_segmenter,
    check_segmenter,
    encoder_name,
)


class SegmentationParts(TaskParts):
    """U-Net or DeepLabV3 whose classifier is a 1x1 convolution to the latent block's channels, and
    a 1x1 convolution on the block's cells; without latent block, the network with its own
    classifier.
    """

    def check_names(self, config: TrialConfig) -> None:
        """Refuse unknown names."""
        check_segmenter(config.backbone, config.encoder)
        check_map_aggregator(config)

    def encoder_name(self, config: TrialConfig) -> str | None:
        """Return the encoder that the network is built around."""
        return encoder_name(config.backbone, config.encoder)

    def load_backbone(self, config: TrialConfig) -> nn.Module:
        """Return the network without its classifier."""
        return _load_segmenter(config).network

    def build_network(self, config: TrialConfig, num_classes: int) -> Network:
        """Return the network up to the latent block and its reader, or network and classifier."""
        segmenter = _load_segmenter(config)
        num_outputs = outputs_for(num_classes)
        if not config.method_facts.has_latent:
            return Network(segmenter.network, segmenter.classifier(num_outputs))
        to_latent = segmenter.classifier(config.latent_channels)
        channels = config.latent_channels * features_of_cell(config)
        return Network(
            nn.Sequential(segmenter.network, to_latent),
            nn.Conv2d(channels, num_outputs, 1),
            build_fusion(config, config.latent_channels),
        )

    def check_features(
        self, config: TrialConfig, network: Network, features: Tensor, batch_size: int
    ) -> None:
        """Refuse maps of another size than the input, which a user's own network may return."""
        side = config.input_side_px
        maps = features
        if not config.method_facts.has_latent:
            maps = probe(network.head, tuple(features.shape), "backbone", config.backbone)
        if tuple(maps.shape[2:]) != (side, side):
            raise ConfigError(
                f"backbone={config.backbone!r}: returns maps of {tuple(maps.shape[2:])} px for "
                f"inputs of {side} px; set its attribute `stride` to how many times it shrinks them"
            )

    def build_task(self, config: TrialConfig, num_classes: int) -> Segmentation:
        """Return loss and metrics of `num_classes` classes."""
        return Segmentation(num_classes)

    def build_reader(
        self, config: TrialConfig, tools: ReaderTools, task: Task
    ) -> SegmentationReader:
        """Return the reader of feature maps."""
        assert isinstance(task, Segmentation)
        return SegmentationReader(config, tools, task)

    def blank_target(self, side_px: int) -> np.ndarray:
        """Return a mask of background, uint8 [side, side]."""
        return np.broadcast_to(np.uint8(0), (side_px, side_px))

    def patches_read_at_once(self, config: TrialConfig) -> int:
        """Return how many cells are read at once."""
        return cells_at_once(config.patch_size)

    def open_predictions(self, data: ImageData, folder: Path, split: str) -> MaskPredictions:
        """Return the writer of masks."""
        return MaskPredictions(folder, split, data.class_names)


def _load_segmenter(config: TrialConfig) -> Segmenter:
    return build_segmenter(
        config.backbone,
        config.encoder,
        weights=config.weights,
        norm=config.norm,
        drop_rate=config.drop_rate,
    )
