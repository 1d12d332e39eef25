"""What a sweep varies: parameters, their ranges and roles. Knows nothing of samplers and Ray."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from patchtrain.config import PATCH_METHODS, TrialConfig
from patchtrain.errors import ConfigError

MIN_PATCH_PX = 32
"""Backbones shrink an image 32-fold; a smaller patch has no feature left."""

MAX_GRID = 32
"""Most patches along one side. The paper: 4096 px in patches of 128 px."""

_MIN_RATIO = 1.5
"""Patch sizes closer than this to each other differ too little to spend trials on."""


class Role(str, Enum):
    """What a parameter is in the experiment (the terms of Google's tuning playbook)."""

    SCIENTIFIC = "scientific"
    """Its effect on metric and memory is what the sweep asks about."""
    NUISANCE = "nuisance"
    """Has to be tuned for a fair comparison, but its best value is no finding."""
    FIXED = "fixed"
    """Held at one value; the finding holds for this value only."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of `TrialConfig` that a sweep varies, or could and was told not to."""

    name: str
    """A field of `TrialConfig`."""
    role: Role
    distribution: BaseDistribution | None = None
    """Where its values come from. None: fixed at the value that the base configuration has."""


@dataclass(frozen=True)
class Space:
    """The configurations that a sweep may draw: `base` with some settings replaced."""

    base: TrialConfig
    parameters: tuple[Parameter, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Parameter name -> distribution, of those that vary."""
        return {p.name: p.distribution for p in self.parameters if p.distribution is not None}

    def choices(self, name: str) -> tuple[Any, ...]:
        """Return the values that `name` takes, a setting with a closed list or a fixed one."""
        distribution = self.distributions.get(name)
        if isinstance(distribution, CategoricalDistribution):
            return tuple(distribution.choices)
        return (getattr(self.base, name),)

    def config(self, params: Mapping[str, Any], budget_bytes: int) -> TrialConfig:
        """Return the trial that `params`, a draw from `distributions`, stand for."""
        return dataclasses.replace(self.base, **params, budget=budget_bytes)

    def identity(self, params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Return what tells one trial from another, whatever its budget.

        Sampling rates that select equally many patches train alike, so their number counts.
        """
        values = dict(params)
        if "sampling_rate" in values:
            values["sampling_rate"] = dataclasses.replace(self.base, **params).num_sampled
        return tuple(sorted(values.items()))

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON values: for each parameter its role and range or value."""
        described = {}
        for parameter in self.parameters:
            entry: dict[str, Any] = {"role": parameter.role.value}
            if parameter.distribution is None:
                entry["value"] = getattr(self.base, parameter.name)
            else:
                entry |= json.loads(distribution_to_json(parameter.distribution))
            described[parameter.name] = entry
        return described


def patch_space(
    base: TrialConfig,
    fixed: Collection[str] = (),
    *,
    max_inner_iterations: int = 12,
    min_patch_size: int = MIN_PATCH_PX,
) -> Space:
    """Return the space of patch size, sampling rate, inner iterations and fusion around `base`.

    Args:
        base: every other setting. A parameter that its method ignores is not varied.
        fixed: parameters that stay at the value they have in `base`.
        max_inner_iterations: most inner iterations per batch. The paper: 3, 4 and 11.
        min_patch_size: smallest patch in px.

    Raises:
        ConfigError: nothing is left to vary.
    """
    parameters = (
        Parameter(
            name="patch_size",
            role=Role.SCIENTIFIC,
            distribution=CategoricalDistribution(patch_sizes(base.image_size, min_patch_size)),
        ),
        Parameter(
            name="sampling_rate",
            role=Role.SCIENTIFIC,
            # the paper: 0.07 to 0.25
            distribution=FloatDistribution(0.05, 0.5, log=True),
        ),
        Parameter(
            name="inner_iterations",
            role=Role.NUISANCE,
            distribution=IntDistribution(1, max_inner_iterations, log=True),
        ),
        Parameter(
            name="fusion",
            role=Role.SCIENTIFIC,
            distribution=CategoricalDistribution(("add", "concat")),
        ),
    )
    used = [p for p in parameters if p.name in _used_by(base.method)]
    space = Space(
        base,
        tuple(Parameter(name=p.name, role=Role.FIXED) if p.name in fixed else p for p in used),
    )
    if not space.distributions:
        raise ConfigError(
            f"method={base.method!r} leaves nothing to search "
            f"(fixed: {', '.join(sorted(fixed)) or 'none'}); "
            "fix fewer settings, or train this one with `patchtrain train`"
        )
    return space


def patch_sizes(image_size: int, min_patch_size: int = MIN_PATCH_PX) -> tuple[int, ...]:
    """Return patch sizes in px that divide `image_size` into 2x2 to 32x32 patches, ascending.

    Raises:
        ConfigError: there is none.
    """
    smallest = max(min_patch_size, -(-image_size // MAX_GRID))
    sizes: list[int] = []
    for size in range(image_size // 2, smallest - 1, -1):
        if image_size % size == 0 and (not sizes or size * _MIN_RATIO <= sizes[-1]):
            sizes.append(size)
    if not sizes:
        raise ConfigError(
            f"image_size={image_size} cannot be cut into a grid of patches of at least "
            f"{smallest} px; use a multiple of {2 * min_patch_size}"
        )
    return tuple(reversed(sizes))


def _used_by(method: str) -> frozenset[str]:
    if method == "local_global":
        return frozenset({"patch_size", "sampling_rate", "inner_iterations", "fusion"})
    if method in PATCH_METHODS:
        return frozenset({"patch_size", "sampling_rate", "inner_iterations"})
    return frozenset({"patch_size"} if method == "downsampled" else ())
