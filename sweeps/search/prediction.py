"""Predicts what a trial will need before it is launched, and whether anything in a space fits.

Asks the estimator that the trainer itself uses. Knows nothing of studies, files and Ray.
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
from patchtrain.memory.facts import GpuFacts
from patchtrain.trial_checks import estimate_trial
from patchtrain.units import format_bytes
from sweeps.search.space import Space


class Prediction(Protocol):
    """What a trial will need; `patchtrain.estimation.peak.Estimate` is one."""

    @property
    def predicted_peak_bytes(self) -> int:
        """Peak of the memory in its tensors."""
        ...

    @property
    def predicted_reserved_bytes(self) -> int:
        """Peak of the memory that torch's CUDA allocator reserves."""
        ...

    @property
    def needed_bytes(self) -> int:
        """Smallest budget that is sure to be enough."""
        ...

    def fits(self, budget_bytes: int) -> bool:
        """Whether the trial fits a budget."""
        ...


Predict = Callable[[TrialConfig], Prediction]

_MAX_RATES = 3
"""How many of the smallest numbers of patches are tried to find one that can be trained on."""


class Predictor:
    """Predicts the trials of one sweep, on a machine that need not have their device.

    Args:
        num_train: number of training images.
        num_val: number of validation images.
        device: kind of device that trials run on, `cpu` or `cuda`.
        facts: what is known of the GPUs that trials run on; None: as in `estimate`.
    """

    def __init__(
        self, num_train: int, num_val: int, device: str, facts: GpuFacts | None = None
    ) -> None:
        self._num_train = num_train
        self._num_val = num_val
        self._device = device
        self._facts = facts

    def __call__(self, config: TrialConfig) -> Estimate:
        """Return what the trial of `config` will need.

        Raises:
            ConfigError: the networks cannot be built or trained.
        """
        on_device = dataclasses.replace(config, device=self._device)
        return estimate_trial(on_device, self._num_train, self._num_val, self._facts)


def check_budgets(
    space: Space, budgets_bytes: Sequence[int], predict: Callable[[TrialConfig], Estimate]
) -> None:
    """Refuse a budget that no configuration of `space` fits.

    Raises:
        ConfigError: the message gives the smallest peak, and the parameter to widen.
    """
    budget_bytes = min(budgets_bytes)  # what fits this one fits the others
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
    """Return the draw with the smallest peak, and its estimate; the first that fits will do.

    Changes one parameter at a time until none lowers the peak: trying all combinations would take
    too long.

    Raises:
        ConfigError: no networks of the space can be built or trained.
    """

    def tried(params: dict[str, Any]) -> tuple[dict[str, Any], Estimate] | None:
        return _trainable(space, params, budget_bytes, predict)

    start = next(filter(None, map(tried, space.points(num_steps=2))), None)
    if start is None:  # raise what is wrong with the first one
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
    """Return a draw that can be trained, and its estimate; None if there is none.

    It is `params`, or if networks cannot be trained on that few patches, one that samples more.
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
    """Return, as text, the settings to widen so that the smallest peak fits the budget."""
    options: dict[str, str] = {}
    while not smallest.fits(budget_bytes):
        config = smallest.config
        # other images would answer another question
        lower = [knob for knob in knobs(config, smallest) if knob.name != "image_size"]
        if not lower:
            return "use smaller networks (--backbone) or images (--image-size)"
        enough = [knob for knob in lower if knob.needed_bytes <= budget_bytes]
        # the smallest change that is enough, or else the one that helps most
        knob = max(enough, key=lambda knob: knob.needed_bytes) if enough else lower[0]
        options[knob.name] = _option(space, knob.name, knob.value)
        smallest = predict(dataclasses.replace(config, **{knob.name: knob.value}))
    verb = "takes" if len(options) == 1 else "take"
    return (
        f"widen {' and '.join(options)}: {' '.join(options.values())} {verb} it to "
        f"{format_bytes(smallest.needed_bytes)}"
    )


def _option(space: Space, name: str, value: Any) -> str:
    """Return, as text, the option that lets `name` take `value` too."""
    distribution = space.distributions.get(name)
    if distribution is None:
        return f"--set {name}={_short(value)}"
    if isinstance(distribution, FloatDistribution):
        return f"--vary {name}={_short(value)}:{_short(distribution.high)}"
    values = [value, *(choice for choice in space.choices(name) if choice != value)]
    return f"--vary {name}={','.join(map(_short, values))}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
