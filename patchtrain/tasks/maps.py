"""Aggregators that read maps, which segmentation and detection share."""

from __future__ import annotations

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.tasks.base import CONV1X1


def check_map_aggregator(config: TrialConfig) -> None:
    """Refuse an aggregator that does not read maps.

    Raises:
        ConfigError: names it and the one that does.
    """
    if config.aggregator not in ("same", CONV1X1):
        raise ConfigError(
            f"aggregator={config.aggregator!r} does not read maps; use {CONV1X1} for {config.task}"
        )
