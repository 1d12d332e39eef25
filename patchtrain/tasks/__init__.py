"""Tasks: what is predicted. One folder per task, one contract (`base.TaskParts`).

Training, estimates, evaluation and checks all build networks here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.models.backbones import norms_over_inputs
from patchtrain.models.network import Network
from patchtrain.tasks.base import (
    NUM_CHECKED_CLASSES,
    Pass,
    PatchReader,
    Reader,
    ReaderTools,
    Task,
    TaskParts,
)
from patchtrain.tasks.probe import probe

__all__ = [
    "Pass",
    "PatchReader",
    "Reader",
    "ReaderTools",
    "Task",
    "TaskParts",
    "build_network",
    "build_on_meta",
    "build_task",
    "check_network",
    "mixes_inputs",
    "parts_of",
]


Module = TypeVar("Module", bound=nn.Module)


def parts_of(config: TrialConfig) -> TaskParts:
    """Return the parts that are specific to the task of `config`."""
    return _parts(config.task)


@cache
def _parts(task: str) -> TaskParts:
    return catalog.implementation("task", task, TaskParts)()


def build_task(config: TrialConfig, num_classes: int) -> Task:
    """Return predictions and metrics of `config`, for `num_classes` classes."""
    return parts_of(config).build_task(config, num_classes)


def build_network(config: TrialConfig, num_classes: int) -> Network:
    """Return the network of `config`, its weights drawn from torch's global random state.

    Raises:
        ConfigError: unknown names, or weights that cannot be loaded.
    """
    return parts_of(config).build_network(config, num_classes)


def build_on_meta(config: TrialConfig, num_classes: int) -> Network:
    """Return the network without memory for its weights. If timm computes with weights while
    building it, it is built with memory first.
    """
    config = replace(config, weights="none")
    return _on_meta(config, lambda: build_network(config, num_classes))


def _on_meta(config: TrialConfig, build: Callable[[], Module]) -> Module:
    # imports the user's own modules, whose constants would otherwise be tensors without values
    parts_of(config).check_names(config)
    try:
        with torch.device("meta"):
            return build().to("meta")
    except RuntimeError:
        return build().to("meta")


def mixes_inputs(config: TrialConfig) -> bool:
    """Return whether a training pass of the backbone takes statistics over its inputs."""
    names = (config.task, config.backbone, config.encoder, config.norm)
    key = (*names, *catalog.own_parts(config))
    if key not in _MIXES_INPUTS:
        without = replace(config, weights="none")
        backbone = _on_meta(config, lambda: parts_of(config).load_backbone(without))
        _MIXES_INPUTS[key] = any(layer.training for layer in norms_over_inputs(backbone.train()))
    return _MIXES_INPUTS[key]


_MIXES_INPUTS: dict[tuple[Any, ...], bool] = {}
"""The settings that decide it -> whether a pass mixes its inputs."""


def check_network(config: TrialConfig, batch_size: int | None = None) -> None:
    """Check, without data or memory, that the network of `config` can be built and trained.

    Args:
        batch_size: images of the smallest batch; default `config.batch_size`.

    Raises:
        ConfigError: names the setting, the reason and the remedy.
    """
    batch_size = batch_size or config.batch_size
    parts = parts_of(config)
    parts.check_names(config)
    if config.weights != "none":  # refuses bad weights now
        parts.load_backbone(config)
    network = build_on_meta(config, NUM_CHECKED_CLASSES).train()
    with torch.device("meta"), torch.no_grad():
        # as many as batch norm sees at a time
        num_inputs = config.inputs_per_image if config.samples_patches else batch_size
        shape = (num_inputs, 3, config.input_side_px, config.input_side_px)
        features = probe(network.backbone, shape, "backbone", config.backbone)
        parts.check_features(config, network, features, batch_size)
