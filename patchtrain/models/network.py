"""`Network`: a trial's backbone and the head that reads its features.

Knows nothing of data sets, budgets or how a method feeds it.

Shapes: B batch, p patch side in px, d features, m n grid, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from patchtrain.config import LATENT_METHODS, PATCH_METHODS, TASK_OF, TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.tasks.classification.aggregators import (
    build_aggregator,
    check_aggregator,
    resolve_name,
)
from patchtrain.models.backbones import (
    build_backbone,
    check_name,
    feature_dim,
    norms_over_inputs,
    use_group_norm,
)
from patchtrain.tasks.detection.detectors import (
    DetectionHead,
    Pyramid,
    build_pyramid,
    check_detector,
)
from patchtrain.tasks.segmentation.segmenters import (
    Segmenter,
    build_segmenter,
    check_segmenter,
    encoder_name,
)
from patchtrain.tasks.segmentation.metrics import outputs_for

CONV1X1 = "conv1x1"
"""The aggregator of segmentation and detection: one convolution that sees a cell at a time."""


class Network(nn.Module):
    """Backbone and head.

    Classification: B x 3 x p x p -> B x d, and an aggregator of the latent block B x d x m x n
    (B x 2d x m x n when concatenated), or a linear layer on B x d; to B x K.

    Segmentation: B x 3 x p x p -> B x d x p x p, and a 1x1 convolution of the latent block's cells
    (2d when concatenated); without latent block, the decoder's features and a classifier of them;
    to B x K x p x p, where one channel is enough for two classes.

    Detection: B x 3 x p x p -> B x L x d, the cells of all levels of a feature pyramid, and FCOS's
    head, with a 1x1 convolution in front that joins what the latent block has of a cell.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores of whole `images` [B, 3, p, p]; for a head that reads features."""
        return self.head(self.backbone(images))


def aggregator_name(config: TrialConfig) -> str | None:
    """Return the name of the aggregator that `config` trains; None for methods without one."""
    if config.method not in LATENT_METHODS:
        return None
    if config.task != "classification":
        return CONV1X1
    return resolve_name(config.aggregator, config.backbone)


def layout_name(config: TrialConfig) -> str | None:
    """Return the layout of Z; None where there is no choice."""
    return config.layout if config.task == "detection" and aggregator_name(config) else None


def own_encoder(config: TrialConfig) -> str | None:
    """Return the encoder inside the backbone of `config`; None where it has none of a name."""
    if config.task != "segmentation":
        return None
    return encoder_name(config.backbone, config.encoder)


def build_network(config: TrialConfig, num_classes: int) -> Network:
    """Return the network of `config`, its weights drawn from torch's global random state.

    Raises:
        ConfigError: unknown names, or weights that cannot be had.
    """
    if config.task == "segmentation":
        return _build_segmenter(config, num_classes)
    if config.task == "detection":
        return _build_detector(config, num_classes)
    backbone = _load_backbone(config)
    features = feature_dim(backbone)
    name = aggregator_name(config)
    if name is None:
        return Network(backbone, nn.Linear(features, num_classes))
    features *= _features_of_cell(config)
    aggregator = build_aggregator(
        name, features, config.grid_size, num_classes, drop_rate=config.drop_rate
    )
    # `frozen` keeps a pretrained backbone's statistics; an aggregator has none to keep
    if config.norm == "group":
        use_group_norm(aggregator)
    return Network(backbone, aggregator)


def _load_backbone(config: TrialConfig) -> nn.Module:
    return build_backbone(config.backbone, config.weights, config.norm, config.drop_rate)


def _load_segmenter(config: TrialConfig) -> Segmenter:
    return build_segmenter(
        config.backbone,
        config.encoder,
        weights=config.weights,
        norm=config.norm,
        drop_rate=config.drop_rate,
    )


def _build_segmenter(config: TrialConfig, num_classes: int) -> Network:
    segmenter = _load_segmenter(config)
    num_outputs = outputs_for(num_classes)
    if config.method not in LATENT_METHODS:
        return Network(segmenter.network, segmenter.classifier(num_outputs))
    to_latent = segmenter.classifier(config.latent_channels)
    channels = config.latent_channels * _features_of_cell(config)
    return Network(nn.Sequential(segmenter.network, to_latent), nn.Conv2d(channels, num_outputs, 1))


def _load_pyramid(config: TrialConfig) -> Pyramid:
    return build_pyramid(
        config.backbone,
        num_features=config.latent_channels,
        weights=config.weights,
        norm=config.norm,
        drop_rate=config.drop_rate,
    )


def _build_detector(config: TrialConfig, num_classes: int) -> Network:
    num_joined = 0
    if config.method in LATENT_METHODS:
        num_joined = _features_of_cell(config)
        if config.layout == "stack":
            num_joined += config.num_patches - 1
    channels = config.latent_channels
    head = DetectionHead(channels, num_classes, channels * num_joined)
    return Network(_load_pyramid(config), head)


def _features_of_cell(config: TrialConfig) -> int:
    """Return how many features the aggregator reads of a cell, as a multiple of d."""
    return 2 if config.method == "local_global" and config.fusion == "concat" else 1


def mixes_inputs(config: TrialConfig) -> bool:
    """Return whether a training pass of the backbone takes statistics over its inputs."""
    return _mixes_inputs(config.task, config.backbone, config.encoder, config.norm)


@cache
def _mixes_inputs(task: str, backbone: str, encoder: str, norm: str) -> bool:
    dataset = next(name for name, its_task in TASK_OF.items() if its_task == task)
    values = {"dataset": dataset, "backbone": backbone, "encoder": encoder, "norm": norm}
    config = TrialConfig.from_mapping({**values, "method": "full"})
    network = build_on_meta(config, 2)
    return any(layer.training for layer in norms_over_inputs(network.backbone.train()))


def memory_layout(config: TrialConfig, device: torch.device) -> torch.memory_format:
    """Return how images lie in memory on `device`: on the CPU most networks run faster on channels
    that lie together (docs/log.md has the exceptions).
    """
    wanted = config.channels_last
    together = device.type == "cpu" if wanted == "auto" else wanted
    return torch.channels_last if together else torch.contiguous_format


def lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    """Lay the weights of convolutions out as `layout`, where a device's kernels want them so.

    CPU kernels lay weights out by themselves.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.device.type != "cpu":
            weight = module.weight
            module.weight = nn.Parameter(
                weight.detach().contiguous(memory_format=layout), weight.requires_grad
            )


def check_network(config: TrialConfig, batch_size: int | None = None) -> None:
    """Find out without data or memory whether the network of `config` can be built and trained.

    Args:
        batch_size: images of the smallest batch; default `config.batch_size`.

    Raises:
        ConfigError: names the setting, the reason and the remedy.
    """
    batch_size = batch_size or config.batch_size
    _check_names(config)
    if config.weights != "none":  # they are had or refused now
        load = {
            "classification": _load_backbone,
            "segmentation": _load_segmenter,
            "detection": _load_pyramid,
        }[config.task]
        load(config)
    network = build_on_meta(config, num_classes=2).train()
    with torch.device("meta"), torch.no_grad():
        num_inputs, side = batch_size, config.image_size
        if config.method == "downsampled":
            side = config.patch_size
        elif config.method in PATCH_METHODS:
            # what batch norm sees at a time
            num_inputs = config.inputs_per_image
            side = config.patch_size
        shape: tuple[int, ...] = (num_inputs, 3, side, side)
        features = _probe(network.backbone, shape, "backbone", config.backbone)
        if config.task == "classification":
            _check_vectors(features, config.backbone)
        name = aggregator_name(config)
        if name is not None and config.task == "classification":
            grid = config.grid_size
            shape = (batch_size, features.shape[1] * _features_of_cell(config), grid, grid)
            _check_vectors(_probe(network.head, shape, "aggregator", name), name)


def _check_names(config: TrialConfig) -> None:
    if config.task != "classification":
        if config.task == "segmentation":
            check_segmenter(config.backbone, config.encoder)
        else:
            check_detector(config.backbone, config.latent_channels)
        if config.aggregator not in ("same", CONV1X1):
            raise ConfigError(
                f"aggregator={config.aggregator!r} reads no maps; {config.task} has {CONV1X1}"
            )
        return
    check_name("backbone", config.backbone)
    name = aggregator_name(config)
    if name is not None:
        check_aggregator(name)


def build_on_meta(config: TrialConfig, num_classes: int) -> Network:
    """Return the network without memory; built with it first where timm computes on tensors."""
    config = replace(config, weights="none")
    try:
        with torch.device("meta"):
            return build_network(config, num_classes).to("meta")
    except RuntimeError:
        return build_network(config, num_classes).to("meta")


def _probe(network: nn.Module, shape: tuple[int, ...], field: str, name: str) -> Tensor:
    try:
        output = network(torch.empty(shape))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{field}={name!r} cannot be trained on inputs of shape {shape}: {reason}; use patches "
            "of a larger or another side, more of them (sampling_rate) or more images a batch, "
            f"norm=group, or another {field}"
        ) from None
    return output


def _check_vectors(output: object, name: str) -> None:
    if not (isinstance(output, Tensor) and output.ndim == 2):
        raise ConfigError(f"{name!r} gives no vector per input; use a timm network that classifies")
