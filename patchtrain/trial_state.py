"""How far a trial has come, saved with its network and optimizer and loaded to resume it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from patchtrain.checkpoint import (
    load_epoch,
    load_optimizer,
    load_state,
    load_weights,
    save_checkpoint,
)
from patchtrain.config import TrialConfig, earlier_settings
from patchtrain.datasets import ImageData
from patchtrain.engine import Engine
from patchtrain.epoch import EpochPart
from patchtrain.errors import ConfigError, DataError, some_of
from patchtrain.memory.budget import Peak
from patchtrain.methods.base import Influence

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """An epoch that was stopped between two batches."""

    part: EpochPart
    peak: Peak
    influence: Influence | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, but for the generator's state."""
        return asdict(replace(self, part=replace(self.part, generator=None)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any], generator: Tensor | None) -> Begun:
        """Return it from what `to_json` gave, and the generator's state."""
        influence = values["influence"]
        return cls(
            part=replace(EpochPart(**values["part"]), generator=generator),
            peak=Peak(**values["peak"]),
            influence=Influence(**influence) if influence else None,
        )


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
    begun: Begun | None = None
    """The epoch after the last finished one, if it was stopped between two batches."""

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values, but for tensors of `begun`."""
        return {
            **asdict(replace(self, begun=None)),
            "started_at": self.started_at.isoformat(),
            "begun": self.begun.to_json() if self.begun else None,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], generator: Tensor | None = None) -> TrialState:
        """Return the state from what `to_json` gave; other keys are ignored.

        Args:
            generator: state of the generator of an epoch that has begun.
        """
        begun = values.get("begun")
        return cls(
            epochs_done=values["epochs_done"],
            peak=None if values["peak"] is None else Peak(**values["peak"]),
            metrics=values["metrics"],
            train_time_s=values["train_time_s"],
            images_trained=values["images_trained"],
            started_at=datetime.fromisoformat(values["started_at"]),
            begun=Begun.from_json(begun, generator) if begun else None,
        )


class SavedTrial(NamedTuple):
    """A checkpoint in memory, on the host."""

    weights: dict[str, Tensor]
    engine: dict[str, Any]
    """See `Engine.state`."""
    state: TrialState
    data: ImageData
    """The images, split as they were."""


def save_trial(
    folder: Path, config: TrialConfig, data: ImageData, engine: Engine, state: TrialState
) -> None:
    """Write a checkpoint into `folder`, whole or not at all."""
    engine_state = engine.state()
    content = {
        "config": asdict(config),
        "class_names": data.class_names,
        "split": data.split_ids,
        "contents": dict(data.contents),
        "steps_done": engine_state["steps_done"],
        "scaler": engine_state["scaler"],
        "accumulated": engine_state["accumulated"],
        **state.to_json(),
    }
    epoch = None
    if state.begun is not None:
        epoch = {
            "generator": state.begun.part.generator,
            "gradients": engine_state["gradients"],
        }
    weights, optimizer = engine.network.state_dict(), engine_state["optimizer"]
    save_checkpoint(folder, weights, optimizer, content, epoch)


def load_trial(folder: Path, config: TrialConfig, data: ImageData) -> SavedTrial:
    """Return the checkpoint in `folder`, to resume the trial of `config` on `data`.

    Raises:
        DataError: no checkpoint there, or a damaged one.
        ConfigError: it belongs to another configuration, to other classes or to other data.
    """
    content = load_state(folder)
    saved = TrialConfig.from_mapping({**earlier_settings(), **content["config"]})
    config.check_resumes(saved, folder)
    _check_classes(content, data, folder)
    data = _data_as_before(content, data, folder)
    weights, optimizer = load_weights(folder), load_optimizer(folder)
    epoch = load_epoch(folder) if content.get("begun") else {}
    if content.get("begun") and "generator" not in epoch:
        raise DataError(f"{folder}: its epoch.pt is damaged; remove the folder and train again")
    state = TrialState.from_json(content, epoch.pop("generator", None))
    return SavedTrial(weights, {**content, **epoch, "optimizer": optimizer}, state, data)


def load_trained_weights(folder: Path, data: ImageData) -> dict[str, Tensor]:
    """Return the weights in the checkpoint in `folder`, to predict the classes of `data`.

    Raises:
        DataError: no checkpoint there, or a damaged one.
        ConfigError: it belongs to other classes.
    """
    _check_classes(load_state(folder), data, folder)
    return load_weights(folder)


def _data_as_before(content: Mapping[str, Any], data: ImageData, folder: Path) -> ImageData:
    """Return `data` in the splits of the checkpoint.

    Raises:
        ConfigError: an image is gone, or the image or its label is another one.
    """
    if "split" not in content:  # written by an earlier version
        return data
    split_ids, contents = content["split"], content["contents"]
    there = {name for names in data.split_ids.values() for name in names}
    gone = [name for names in split_ids.values() for name in names if name not in there]
    changed = [name for name, own in contents.items() if data.contents.get(name, own) != own]
    for names, what in ((gone, "cannot be used any more"), (changed, "or their labels changed")):
        if names:
            raise ConfigError(
                f"{data.data_dir}: {len(names)} images of the trial in {folder} {what}: "
                f"{some_of(sorted(names))}; restore them, or start a new trial"
            )
    if split_ids == data.split_ids:
        return data
    before = data.as_split(split_ids)
    num_new = len(there) - sum(map(len, split_ids.values()))
    if num_new:
        _log.warning(
            "%s: %d images that the trial in %s did not have are left out",
            *(data.data_dir, num_new, folder),
        )
    return before


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
