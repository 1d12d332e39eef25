"""How far a trial has come, saved with its network and optimizer and loaded to resume it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from patchtrain.checkpoint import load_optimizer, load_state, load_weights, save_checkpoint
from patchtrain.config import TrialConfig, earlier_settings
from patchtrain.datasets import ImageData
from patchtrain.engine import Engine
from patchtrain.errors import ConfigError
from patchtrain.memory.budget import Peak


@dataclass
class TrialState:
    """How far a trial has come; the engine has a state of its own."""

    epochs_done: int = 0
    peak: Peak | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Of the last epoch."""
    train_time_s: float = 0.0
    images_trained: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {**asdict(self), "started_at": self.started_at.isoformat()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialState:
        """Return the state from what `to_json` gave; other keys are ignored."""
        return cls(
            epochs_done=values["epochs_done"],
            peak=None if values["peak"] is None else Peak(**values["peak"]),
            metrics=values["metrics"],
            train_time_s=values["train_time_s"],
            images_trained=values["images_trained"],
            started_at=datetime.fromisoformat(values["started_at"]),
        )


class SavedTrial(NamedTuple):
    """A checkpoint in memory, on the host."""

    weights: dict[str, Tensor]
    engine: dict[str, Any]
    """See `Engine.state`."""
    state: TrialState


def save_trial(
    folder: Path, config: TrialConfig, data: ImageData, engine: Engine, state: TrialState
) -> None:
    """Write a checkpoint into `folder`, whole or not at all."""
    engine_state = engine.state()
    content = {
        "config": asdict(config),
        "class_names": data.class_names,
        "steps_done": engine_state["steps_done"],
        "scaler": engine_state["scaler"],
        **state.to_json(),
    }
    save_checkpoint(folder, engine.network.state_dict(), engine_state["optimizer"], content)


def load_trial(folder: Path, config: TrialConfig, data: ImageData) -> SavedTrial:
    """Return the checkpoint in `folder`, to resume the trial of `config` on `data`.

    Raises:
        DataError: no checkpoint there, or a damaged one.
        ConfigError: it belongs to another configuration or to other classes.
    """
    content = load_state(folder)
    saved = TrialConfig.from_mapping({**earlier_settings(), **content["config"]})
    config.check_resumes(saved, folder)
    _check_classes(content, data, folder)
    weights, optimizer = load_weights(folder), load_optimizer(folder)
    return SavedTrial(weights, {**content, "optimizer": optimizer}, TrialState.from_json(content))


def load_trained_weights(folder: Path, data: ImageData) -> dict[str, Tensor]:
    """Return the weights in the checkpoint in `folder`, to predict the classes of `data`.

    Raises:
        DataError: no checkpoint there, or a damaged one.
        ConfigError: it belongs to other classes.
    """
    _check_classes(load_state(folder), data, folder)
    return load_weights(folder)


def _check_classes(content: Mapping[str, Any], data: ImageData, folder: Path) -> None:
    """Raise ConfigError unless class k of the data is class k of the weights, for every k."""
    trained = tuple(content.get("class_names", data.class_names))
    if trained != data.class_names:
        raise ConfigError(
            f"{data.data_dir}: has the classes {_listed(data.class_names)}, but "
            f"{folder} was trained on {_listed(trained)}; give them the same names in the same "
            "order (in classes.csv, where there is one), or train a new model"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
