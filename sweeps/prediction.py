"""What a trial will hold, said before it is launched, and whether anything of a space fits.

Knows nothing of studies, files and Ray; it asks the estimator that the trainer itself asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.memory.estimate import Estimate, knobs
from patchtrain.trainer import estimate_trial
from patchtrain.units import format_bytes
from sweeps.spaces import ROLES, Space


class Prediction(Protocol):
    """What is said of a trial; `patchtrain.memory.estimate.Estimate` is one."""

    @property
    def predicted_peak_bytes(self) -> int:
        """The most that its tensors take."""
        ...

    @property
    def predicted_reserved_bytes(self) -> int:
        """What torch's CUDA allocator will hold."""
        ...

    @property
    def needed_bytes(self) -> int:
        """A budget that is sure to hold it."""
        ...

    def fits(self, budget_bytes: int) -> bool:
        """Whether a budget holds it."""
        ...


Predict = Callable[[TrialConfig], Prediction]


class Predictor:
    """Predicts the trials of one sweep on a machine that need not have their device.

    Args:
        num_train: images of the training set.
        num_val: images of the validation set.
        device: kind of the device that trials run on, `cpu` or `cuda`.
    """

    def __init__(self, num_train: int, num_val: int, device: str) -> None:
        self._num_train = num_train
        self._num_val = num_val
        self._device = device

    def __call__(self, config: TrialConfig) -> Estimate:
        """Return what the trial of `config` will hold.

        Raises:
            ConfigError: its networks cannot be built or trained.
        """
        there = dataclasses.replace(config, device=self._device)
        return estimate_trial(there, self._num_train, self._num_val)


def check_budgets(space: Space, budgets_bytes: Sequence[int], predict: Predictor) -> None:
    """Refuse a budget that no configuration of `space` fits.

    Raises:
        ConfigError: says the smallest peak, and which parameter to widen.
    """
    budget_bytes = min(budgets_bytes)  # what fits it fits the others
    params, smallest = _smallest(space, budget_bytes, predict)
    if smallest.fits(budget_bytes):
        return
    config = space.config(params, budget_bytes)
    settings = ", ".join(f"{name}={_short(value)}" for name, value in params.items())
    needed = format_bytes(smallest.needed_bytes)
    raise ConfigError(
        f"--budgets {format_bytes(budget_bytes)}: no configuration of this space fits; the "
        f"smallest peak is {needed} ({smallest.needed_bytes} bytes, with {settings}); "
        f"give a budget of at least {smallest.needed_bytes}B, or {_remedy(config, smallest)}"
    )


def _smallest(
    space: Space, budget_bytes: int, predict: Predictor
) -> tuple[dict[str, Any], Estimate]:
    """Return the draw with the smallest peak and that peak; the first that fits is good enough.

    One parameter is moved at a time until none lowers the peak: all combinations would take long.
    """
    params = next(space.points(num_steps=2))
    best = predict(space.config(params, budget_bytes))
    improved = True
    while improved and not best.fits(budget_bytes):
        improved = False
        for other in _neighbours(space, params):
            try:
                found = predict(space.config(other, budget_bytes))
            except ConfigError:  # networks that cannot take such patches
                continue
            if found.needed_bytes < best.needed_bytes:
                params, best, improved = other, found, True
                if best.fits(budget_bytes):
                    break
    return params, best


def _neighbours(space: Space, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the draws that differ from `params` in one parameter."""
    return [
        {**params, name: value}
        for name in space.distributions
        for value in space.values(name, num_steps=2)
        if value != params[name]
    ]


def _remedy(config: TrialConfig, smallest: Estimate) -> str:
    """Return, as text, the setting to widen."""
    lower = knobs(config, smallest)
    if not lower:
        return "use smaller networks (--backbone)"
    enough = [knob for knob in lower if knob.needed_bytes <= (config.budget or 0)]
    # the smallest change that is enough, else what helps most
    knob = max(enough, key=lambda knob: knob.needed_bytes) if enough else lower[0]
    option = "--vary" if knob.name in ROLES else "--set"
    return (
        f"widen {knob.name}: {option} {knob.name}={_short(knob.value)} takes it to "
        f"{format_bytes(knob.needed_bytes)}"
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
