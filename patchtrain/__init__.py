"""patchtrain: train vision models on high-resolution images inside a hard memory budget.

The public interface: `from patchtrain import TrialConfig, train, estimate, evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchtrain.api import estimate, evaluate, train
    from patchtrain.commands.evaluate import Evaluation
    from patchtrain.config import TrialConfig
    from patchtrain.errors import ConfigError, DataError
    from patchtrain.estimation.peak import Estimate
    from patchtrain.record import TrialRecord, TrialStatus

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "Estimate",
    "Evaluation",
    "TrialConfig",
    "TrialRecord",
    "TrialStatus",
    "estimate",
    "evaluate",
    "train",
]

_HOMES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "Estimate": "estimation.peak",
    "Evaluation": "commands.evaluate",
    "TrialConfig": "config",
    "TrialRecord": "record",
    "TrialStatus": "record",
    "estimate": "api",
    "evaluate": "api",
    "train": "api",
}
"""Public name -> module; imported on first use, so that records can be read without torch."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'patchtrain' has no attribute {name!r}")
    return getattr(importlib.import_module(f"patchtrain.{_HOMES[name]}"), name)
