"""Fills a `TrialRecord`: the only place that turns a configuration and an outcome into a row.

Knows nothing of how a trial ran, of files or of who asks.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from patchtrain import __version__, catalog
from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus, setting_names
from patchtrain.settings import recorded_value
from patchtrain.tasks import parts_of


def new_record(
    config: TrialConfig,
    *,
    trial_id: str,
    sweep: str | None,
    status: TrialStatus,
    num_classes: int,
    data_is_sample: bool,
    **outcome: Any,
) -> TrialRecord:
    """Return the record of a trial of `config` that ended now.

    Args:
        num_classes: classes of its data.
        outcome: further fields of `TrialRecord`.
    """
    settings = _recorded_settings(config)
    own_fields = {field.name for field in dataclasses.fields(TrialRecord)}
    return TrialRecord(
        **{name: value for name, value in settings.items() if name in own_fields},
        settings={
            name: value
            for name, value in settings.items()
            if name not in own_fields and value is not None
        },
        trial_id=trial_id,
        sweep=sweep,
        status=status,
        data_is_sample=data_is_sample,
        num_sampled=config.num_sampled,
        budget_bytes=config.budget,
        metric_name=parts_of(config).build_task(config, num_classes).metric_name,
        finished_at=datetime.now(timezone.utc),
        **{"device": config.device, **outcome},
    )


def device_name(device: torch.device) -> str:
    """Return what the column `device` says: the GPU's model, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions_json() -> str:
    """Return what the column `versions` says: a JSON object, package name -> version."""
    versions = {"python": platform.python_version(), "patchtrain": __version__}
    for package in ("torch", "torchvision", "timm", "segmentation-models-pytorch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return json.dumps(versions)


def _recorded_settings(config: TrialConfig) -> dict[str, Any]:
    """Return the settings as they took effect: a network's name instead of `same`, and None if the
    task or the method has no such part.
    """
    parts = parts_of(config)
    settings = {
        name: getattr(config, name)
        for name in setting_names()
        if catalog.reads(config.task, name) and catalog.dataset_reads(config.dataset, name)
    }
    settings |= {
        "encoder": parts.encoder_name(config),
        "aggregator": parts.aggregator_name(config),
        "layout": parts.layout_name(config),
    }
    return {name: recorded_value(TrialConfig, name, value) for name, value in settings.items()}
