"""Detection, boxes around objects: everything that is specific to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.datasets.targets.boxes import Annotation, FittedObjects, Objects
from patchtrain.errors import ConfigError
from patchtrain.models import Network
from patchtrain.tasks.base import ReaderTools, Task, TaskParts, build_fusion, features_of_cell
from patchtrain.tasks.detection.detectors import (
    DetectionHead,
    Levels,
    Pyramid,
    build_pyramid,
    check_detector,
)
from patchtrain.tasks.detection.metrics import Detection
from patchtrain.tasks.detection.predictions import BoxPredictions
from patchtrain.tasks.detection.reader import (
    SCRAMBLED,
    DetectionReader,
    layout_of,
    windows_at_once,
)
from patchtrain.tasks.detection.scrambled import ScrambledHead, ScrambledReader
from patchtrain.tasks.maps import check_map_aggregator


class DetectionParts(TaskParts):
    """Feature pyramid N x 3 x p x p -> N x L x d and the head that finds objects, with a 1x1
    convolution in front that joins the latent block's features of a cell.
    """

    def check_names(self, config: TrialConfig) -> None:
        """Refuse unknown names and a number of channels that makes no detector."""
        check_detector(config.backbone, config.head, config.latent_channels)
        check_map_aggregator(config)

    def layout_name(self, config: TrialConfig) -> str | None:
        """Return how Z is laid out."""
        return layout_of(config)

    def load_backbone(self, config: TrialConfig) -> Pyramid:
        """Return the feature pyramid."""
        return build_pyramid(
            config.backbone,
            num_features=config.latent_channels,
            weights=config.weights,
            norm=config.norm,
            drop_rate=config.drop_rate,
        )

    def build_network(self, config: TrialConfig, num_classes: int) -> Network:
        """Return pyramid and head."""
        channels = config.latent_channels
        head = self._build_head(config, num_classes)
        return Network(self.load_backbone(config), head, build_fusion(config, channels))

    def check_features(
        self, config: TrialConfig, network: Network, features: Tensor, batch_size: int
    ) -> None:
        """Refuse maps of other strides than FCOS's, which a user's own backbone may return."""
        num_cells = Levels(config.input_side_px).num_cells
        if tuple(features.shape[1:]) != (num_cells, config.latent_channels):
            raise ConfigError(
                f"backbone={config.backbone!r}: its maps have {features.shape[1]} cells in all, "
                f"strides of 8, 16 and 32 px give {num_cells}; return three maps of these strides"
            )

    def build_task(self, config: TrialConfig, num_classes: int) -> Detection:
        """Return COCO's metrics of `num_classes` classes."""
        return Detection(
            num_classes,
            image_size=config.image_size,
            area_ranges=config.area_ranges,
            max_detections=config.max_detections,
        )

    def build_reader(self, config: TrialConfig, tools: ReaderTools, task: Task) -> DetectionReader:
        """Return the reader of feature pyramids."""
        reader = ScrambledReader if layout_of(config) == SCRAMBLED else DetectionReader
        return reader(config, tools)

    def _build_head(self, config: TrialConfig, num_classes: int) -> DetectionHead:
        layout, channels = layout_of(config), config.latent_channels
        if layout == SCRAMBLED:
            sides = Levels(config.input_side_px).sides
            num_maps = config.num_patches + 1
            return ScrambledHead(config.head, channels, num_classes, sides, num_maps)
        num_joined = 0 if layout is None else features_of_cell(config)
        if layout == "stack":
            num_joined += config.num_patches - 1
        return DetectionHead(config.head, channels, num_classes, channels * num_joined)

    def blank_target(self, side_px: int) -> FittedObjects:
        """Return an image without objects."""
        nothing = Annotation(Objects.none(), np.zeros(0), side_px, side_px, Path())
        return FittedObjects(nothing.objects, nothing)

    def patches_read_at_once(self, config: TrialConfig) -> int:
        """Return how many patches' windows are read at once."""
        return windows_at_once(config.patch_size)

    def open_predictions(self, data: ImageData, folder: Path, split: str) -> BoxPredictions:
        """Return the writer of detections."""
        return BoxPredictions(folder, split, data.class_names, data.category_numbers)
