"""What a trial will hold, said before it is launched, and whether anything of a space fits.

Knows nothing of studies, files and Ray; it asks the estimator that the trainer itself asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from optuna.distributions import FloatDistribution

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.advice import knobs
from patchtrain.estimation.peak import Estimate
from patchtrain.trainer import estimate_trial
from patchtrain.units import format_bytes
from sweeps.search.space import Space


class Prediction(Protocol):
    """What is said of a trial; `patchtrain.estimation.peak.Estimate` is one."""

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

_MAX_RATES = 3
"""Numbers of patches, the least ones, among which there is one that networks can be trained on."""


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


def check_budgets(
    space: Space, budgets_bytes: Sequence[int], predict: Callable[[TrialConfig], Estimate]
) -> None:
    """Refuse a budget that no configuration of `space` fits.

    Raises:
        ConfigError: says the smallest peak, and which parameter to widen.
    """
    budget_bytes = min(budgets_bytes)  # what fits it fits the others
    params, smallest = _smallest(space, budget_bytes, predict)
    if smallest.fits(budget_bytes):
        return
    settings = ", ".join(f"{name}={_short(value)}" for name, value in params.items())
    needed = format_bytes(smallest.needed_bytes)
    raise ConfigError(
        f"--budgets {format_bytes(budget_bytes)}: no configuration of this space fits; the "
        f"smallest peak is {needed} ({smallest.needed_bytes} bytes, with {settings}); "
        f"give a budget of at least {smallest.needed_bytes}B, or "
        f"{_remedy(space, smallest, budget_bytes, predict)}"
    )


def _smallest(
    space: Space, budget_bytes: int, predict: Callable[[TrialConfig], Estimate]
) -> tuple[dict[str, Any], Estimate]:
    """Return the draw with the smallest peak and that peak; the first that fits is good enough.

    One parameter is moved at a time until none lowers the peak: all combinations would take long.

    Raises:
        ConfigError: no networks of the space can be built or trained.
    """

    def tried(params: dict[str, Any]) -> tuple[dict[str, Any], Estimate] | None:
        return _trainable(space, params, budget_bytes, predict)

    start = next(filter(None, map(tried, space.points(num_steps=2))), None)
    if start is None:  # what is wrong with the first is told
        params = next(space.points(num_steps=2))
        return params, predict(space.config(params, budget_bytes))
    params, best = start
    improved = True
    while improved and not best.fits(budget_bytes):
        improved = False
        for found in filter(None, map(tried, _neighbours(space, params))):
            if found[1].needed_bytes < best.needed_bytes:
                (params, best), improved = found, True
                if best.fits(budget_bytes):
                    break
    return params, best


def _trainable(
    space: Space,
    params: dict[str, Any],
    budget_bytes: int,
    predict: Callable[[TrialConfig], Estimate],
) -> tuple[dict[str, Any], Estimate] | None:
    """Return `params`, with more patches sampled where so few cannot be trained on, and its peak;
    None where nothing helps.
    """
    draws = [params]
    if "sampling_rate" in space.distributions:
        draws += [{**params, "sampling_rate": rate} for rate in space.rates(params)[:_MAX_RATES]]
    for draw in draws:
        try:
            return draw, predict(space.config(draw, budget_bytes))
        except ConfigError:
            continue
    return None


def _neighbours(space: Space, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the draws that differ from `params` in one parameter."""
    return [
        {**params, name: value}
        for name in space.distributions
        for value in space.values(name, num_steps=2)
        if value != params[name]
    ]


def _remedy(
    space: Space,
    smallest: Estimate,
    budget_bytes: int,
    predict: Callable[[TrialConfig], Estimate],
) -> str:
    """Return, as text, the settings to widen, with which the smallest peak is within the budget."""
    options: dict[str, str] = {}
    while not smallest.fits(budget_bytes):
        config = smallest.config
        # other images would be another question
        lower = [knob for knob in knobs(config, smallest) if knob.name != "image_size"]
        if not lower:
            return "use smaller networks (--backbone) or images (--image-size)"
        enough = [knob for knob in lower if knob.needed_bytes <= budget_bytes]
        # the smallest change that is enough, else what helps most
        knob = max(enough, key=lambda knob: knob.needed_bytes) if enough else lower[0]
        options[knob.name] = _option(space, knob.name, knob.value)
        smallest = predict(dataclasses.replace(config, **{knob.name: knob.value}))
    verb = "takes" if len(options) == 1 else "take"
    return (
        f"widen {' and '.join(options)}: {' '.join(options.values())} {verb} it to "
        f"{format_bytes(smallest.needed_bytes)}"
    )


def _option(space: Space, name: str, value: Any) -> str:
    """Return, as text, the option with which `name` can take `value` too."""
    distribution = space.distributions.get(name)
    if distribution is None:
        return f"--set {name}={_short(value)}"
    if isinstance(distribution, FloatDistribution):
        return f"--vary {name}={_short(value)}:{_short(distribution.high)}"
    values = [value, *(choice for choice in space.choices(name) if choice != value)]
    return f"--vary {name}={','.join(map(_short, values))}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
