"""`Space`: the configurations that a sweep may draw. Knows nothing of samplers and Ray."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from patchtrain.catalog import Role
from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord
from patchtrain.settings import from_record
from sweeps.search.settings import ignored_by

_NUM_STEPS = 3
"""Values of a continuous range in `Space.points`, where no number of steps is given."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of `TrialConfig` that a sweep varies, or could and was told not to."""

    name: str
    """A field of `TrialConfig`."""
    role: Role
    distribution: BaseDistribution | None = None
    """Distribution of its values. None: fixed at the value that the base configuration has."""


@dataclass(frozen=True)
class Space:
    """The configurations that a sweep may draw: `base` with some settings replaced."""

    base: TrialConfig
    parameters: tuple[Parameter, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Name -> distribution of each parameter that varies."""
        return {p.name: p.distribution for p in self.parameters if p.distribution is not None}

    def choices(self, name: str) -> tuple[Any, ...]:
        """Return the values of the setting `name`, which is fixed or has a closed list."""
        distribution = self.distributions.get(name)
        if isinstance(distribution, CategoricalDistribution):
            return tuple(distribution.choices)
        return (getattr(self.base, name),)

    def variants(self, names: Sequence[str]) -> list[TrialConfig]:
        """Return `base` with each combination of the values of `names`, see `choices`."""
        combinations = itertools.product(*(self.choices(name) for name in names))
        return [
            dataclasses.replace(self.base, **dict(zip(names, values, strict=True)))
            for values in combinations
        ]

    def values(self, name: str, num_steps: int | None = None) -> Sequence[Any]:
        """Return values of the parameter `name`, which must vary; see `points`."""
        return _values(self.distributions[name], num_steps)

    def rates(self, params: Mapping[str, Any], num_steps: int | None = None) -> Sequence[float]:
        """Return sampling rates, ascending; they must vary.

        A range gives one rate for each number of patches that can be selected from the grid of
        `params`, or `num_steps` rates, see `points`.
        """
        rates = self.distributions["sampling_rate"]
        if num_steps is not None or not isinstance(rates, FloatDistribution):
            return sorted(_values(rates, num_steps))
        fewest, most = (
            self.config({**params, "sampling_rate": rate}).num_sampled
            for rate in (rates.low, rates.high)
        )
        num_patches = self.config(params).num_patches
        wanted = (number / num_patches for number in range(fewest, most + 1))
        return [min(max(rate, rates.low), rates.high) for rate in wanted]

    def config(self, params: Mapping[str, Any], budget_bytes: int | None = None) -> TrialConfig:
        """Return the configuration of the draw `params`, a value for each of `distributions`."""
        return dataclasses.replace(self.base, **params, budget=budget_bytes)

    def params(self, record: TrialRecord) -> dict[str, Any]:
        """Return the draw behind the trial of `record`."""
        return {name: recorded(record, name) for name in self.distributions}

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether `params` could be a draw from this space."""
        return all(
            name in params and _contains(distribution, params[name])
            for name, distribution in self.distributions.items()
        )

    def identity(self, params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Return what tells one trial from another, whatever the budget.

        Sampling rates that select the same number of patches train the same way, so that number
        counts; settings that the method ignores do not count.
        """
        config = self.config(params)
        ignored = ignored_by(config.method)
        values = {name: value for name, value in params.items() if name not in ignored}
        if "sampling_rate" in values:
            values["sampling_rate"] = config.num_sampled
        return tuple(sorted(values.items()))

    def points(self, num_steps: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield draws that all train something different.

        Draws that differ in the sampling rate alone come together, fewest sampled patches first.

        Args:
            num_steps: values of a range, evenly spaced in their logarithm. None: every whole
                number and every number of sampled patches, and `_NUM_STEPS` learning rates.
        """
        seen = set()
        distributions = dict(self.distributions)
        rates = distributions.pop("sampling_rate", None)
        values = [self.values(name, num_steps) for name in distributions]
        for combination in itertools.product(*values):
            params = dict(zip(distributions, combination, strict=True))
            for rate in [None] if rates is None else self.rates(params, num_steps):
                point = params if rate is None else {**params, "sampling_rate": rate}
                identity = self.identity(point)
                if identity not in seen:
                    seen.add(identity)
                    yield point

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON values: the role, and the range or value, of each parameter."""
        described = {}
        for parameter in self.parameters:
            entry: dict[str, Any] = {"role": parameter.role.value}
            if parameter.distribution is None:
                entry["value"] = getattr(self.base, parameter.name)
            else:
                entry |= json.loads(distribution_to_json(parameter.distribution))
            described[parameter.name] = entry
        return described


def recorded(record: TrialRecord, name: str) -> Any:
    """Return the setting `name` of the trial of `record`, as `TrialConfig` has it."""
    return from_record(TrialConfig, name, record.setting(name))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low <= value <= distribution.high


def _values(distribution: BaseDistribution, num_steps: int | None) -> Sequence[Any]:
    """Return the values of a closed list, or `num_steps` values of a range, ascending."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    is_whole = isinstance(distribution, IntDistribution)
    if is_whole and num_steps is None:
        return range(int(low), int(high) + 1)
    spaced = np.geomspace(low, high, num_steps or _NUM_STEPS).tolist()
    spaced[0], spaced[-1] = low, high  # the ends exactly, whatever the rounding
    return sorted({round(value) for value in spaced}) if is_whole else spaced
