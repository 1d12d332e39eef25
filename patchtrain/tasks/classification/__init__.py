"""Classification of whole images: everything that is specific to it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from patchtrain.config import TrialConfig
from patchtrain.datasets.loading.image_data import ImageData
from patchtrain.errors import ConfigError
from patchtrain.models import Network
from patchtrain.models.backbones import build_backbone, check_name, feature_dim, use_group_norm
from patchtrain.tasks.base import (
    NUM_CHECKED_CLASSES,
    ReaderTools,
    Task,
    TaskParts,
    build_fusion,
    features_of_cell,
)
from patchtrain.tasks.classification.aggregators import (
    build_aggregator,
    check_aggregator,
    resolve_name,
)
from patchtrain.tasks.classification.metrics import Classification
from patchtrain.tasks.classification.predictions import ClassPredictions
from patchtrain.tasks.classification.reader import ClassificationReader
from patchtrain.tasks.probe import probe


class ClassificationParts(TaskParts):
    """Backbone B x 3 x p x p -> B x d; an aggregator of the latent block, or a linear layer."""

    def check_names(self, config: TrialConfig) -> None:
        """Refuse unknown names."""
        check_name("backbone", config.backbone)
        name = self.aggregator_name(config)
        if name is not None:
            check_aggregator(name)

    def aggregator_name(self, config: TrialConfig) -> str | None:
        """Return the aggregator's own name: `same` is the backbone's."""
        if not config.method_facts.has_latent:
            return None
        return resolve_name(config.aggregator, config.backbone)

    def load_backbone(self, config: TrialConfig) -> nn.Module:
        """Return the backbone, pooled and without classifier."""
        return build_backbone(config.backbone, config.weights, config.norm, config.drop_rate)

    def build_network(self, config: TrialConfig, num_classes: int) -> Network:
        """Return backbone and aggregator, or backbone and linear layer."""
        backbone = self.load_backbone(config)
        features = feature_dim(backbone)
        fusion = build_fusion(config, features)
        name = self.aggregator_name(config)
        if name is None:
            return Network(backbone, nn.Linear(features, num_classes))
        features *= features_of_cell(config)
        aggregator = build_aggregator(
            name, features, config.grid_size, num_classes, drop_rate=config.drop_rate
        )
        # `frozen` keeps a pretrained backbone's statistics; an aggregator has none to keep
        if config.norm == "group":
            use_group_norm(aggregator)
        return Network(backbone, aggregator, fusion)

    def check_features(
        self, config: TrialConfig, network: Network, features: Tensor, batch_size: int
    ) -> None:
        """Refuse a backbone that gives no vectors and an aggregator that cannot read their grid."""
        _check_vectors(features, "backbone", config.backbone)
        if features.shape[1] != feature_dim(network.backbone):
            raise ConfigError(
                f"backbone={config.backbone!r}: gives {features.shape[1]} features, but its "
                f"num_features is {feature_dim(network.backbone)}; make them equal"
            )
        name = self.aggregator_name(config)
        if name is not None:
            grid = config.grid_size
            shape = (batch_size, features.shape[1] * features_of_cell(config), grid, grid)
            scores = probe(network.head, shape, "aggregator", name)
            _check_vectors(scores, "aggregator", name)
            if scores.shape[1] != NUM_CHECKED_CLASSES:
                raise ConfigError(
                    f"aggregator={name!r}: gives {scores.shape[1]} scores for "
                    f"{NUM_CHECKED_CLASSES} classes; give one for each of num_classes"
                )

    def build_task(self, config: TrialConfig, num_classes: int) -> Classification:
        """Return the metrics of `num_classes` classes."""
        return Classification(num_classes)

    def build_reader(
        self, config: TrialConfig, tools: ReaderTools, task: Task
    ) -> ClassificationReader:
        """Return the reader of feature vectors."""
        assert isinstance(task, Classification)
        return ClassificationReader(config, tools, task)

    def blank_target(self, side_px: int) -> int:
        """Return the first class."""
        return 0

    def open_predictions(self, data: ImageData, folder: Path, split: str) -> ClassPredictions:
        """Return the writer of class probabilities."""
        return ClassPredictions(folder, split)


def _check_vectors(output: object, field: str, name: str) -> None:
    if not (isinstance(output, torch.Tensor) and output.ndim == 2):
        raise ConfigError(
            f"{field}={name!r} does not return one vector per input; use a network of timm that "
            "classifies images, or return them from your own"
        )
