"""What a sweep varies: parameters, their ranges and roles. Knows nothing of samplers and Ray."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from patchtrain.config import PATCH_METHODS, TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord

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

    def variants(self, names: Sequence[str]) -> list[TrialConfig]:
        """Return `base` with each combination of the values that `names` take, see `choices`."""
        combinations = itertools.product(*(self.choices(name) for name in names))
        return [
            dataclasses.replace(self.base, **dict(zip(names, values, strict=True)))
            for values in combinations
        ]

    def values(self, name: str, num_steps: int | None = None) -> Sequence[Any]:
        """Return values of the parameter `name`, which varies; see `points`."""
        return _values(self.distributions[name], num_steps)

    def rates(self, params: Mapping[str, Any], num_steps: int | None = None) -> Sequence[float]:
        """Return sampling rates, which vary, ascending: of a range one for each number of patches
        that they select from the grid of `params`, or see `points`.
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
        """Return the trial that `params`, a draw from `distributions`, stand for."""
        return dataclasses.replace(self.base, **params, budget=budget_bytes)

    def params(self, record: TrialRecord) -> dict[str, Any]:
        """Return the draw that gave the trial of `record`."""
        return {name: recorded(record, name) for name in self.distributions}

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether `params` could be a draw from this space."""
        return all(
            name in params and _contains(distribution, params[name])
            for name, distribution in self.distributions.items()
        )

    def identity(self, params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Return what tells one trial from another, whatever its budget.

        Sampling rates that select equally many patches train alike, so their number counts, and
        settings that the method ignores do not.
        """
        config = self.config(params)
        unused = _OF_METHOD - _used_by(config.method)
        values = {name: value for name, value in params.items() if name not in unused}
        if "sampling_rate" in values:
            values["sampling_rate"] = config.num_sampled
        return tuple(sorted(values.items()))

    def points(self, num_steps: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield draws that differ in what they train, all others fixed before one moves on.

        Args:
            num_steps: values of a range, evenly spaced in its logarithm. None: every whole number
                and every number of sampled patches, and `_NUM_STEPS` values of a learning rate.
        """
        seen = set()
        distributions = dict(self.distributions)
        # the rates last, so that those of one grid come together, fewest patches first
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


def recorded(record: TrialRecord, name: str) -> Any:
    """Return the setting `name` of the trial of `record`, as `TrialConfig` has it."""
    value = getattr(record, name)
    # a record has a number of patches as text
    return int(value) if name == "patch_microbatch" and value.isdecimal() else value


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float


Values = tuple[Any, ...] | Range
"""What a setting is to take: a closed list, or a range."""

DEFAULT_VALUES: Mapping[str, Values] = {
    "sampling_rate": Range(low=0.05, high=0.5),  # the paper: 0.07 to 0.25
    "fusion": ("add", "concat"),
    "method": ("local_global", "patchgd", "downsampled"),
    "learning_rate": Range(low=1e-4, high=1e-2),  # the paper: 1e-3
    "precision": ("fp32", "bf16"),
    "patch_microbatch": ("none", "auto"),
}
"""What a setting takes where the user does not say."""

_DEFAULTS_OF_TASK: Mapping[str, Mapping[str, Values]] = {
    "classification": {},
    "segmentation": {
        "method": ("local_global", "patchgd", "tiled", "downsampled"),
        "learning_rate": Range(low=1e-5, high=1e-3),  # the paper: 1e-4
        "backbone": ("unet", "deeplabv3"),  # the paper's
    },
    "detection": {
        "method": ("local_global", "patchgd", "tiled", "downsampled"),
        "learning_rate": Range(low=1e-5, high=1e-3),
    },
}
"""What differs from `DEFAULT_VALUES`."""

_PATCH_STEP_PX: Mapping[str, int] = {"classification": 1, "segmentation": 32, "detection": 32}
"""What patch sizes are multiples of: encoders halve a map five times, decoders double it again, and
maps of patches are tiled.
"""

ROLES: Mapping[str, Role] = {
    "patch_size": Role.SCIENTIFIC,
    "sampling_rate": Role.SCIENTIFIC,
    "inner_iterations": Role.NUISANCE,
    "fusion": Role.SCIENTIFIC,
    "backbone": Role.SCIENTIFIC,
    "encoder": Role.SCIENTIFIC,
    "method": Role.SCIENTIFIC,
    "learning_rate": Role.NUISANCE,
    "precision": Role.SCIENTIFIC,
    "patch_microbatch": Role.NUISANCE,
}
"""Every setting that a sweep can vary. The first four are varied unless they are fixed."""

_MISSION = ("patch_size", "sampling_rate", "inner_iterations", "fusion")
_OF_METHOD = frozenset(_MISSION)
"""Settings that not every method reads."""

_NUM_STEPS = 3
"""Values of a continuous range in `Space.points`, where no number of steps is given."""


def patch_space(
    base: TrialConfig,
    fixed: Collection[str] = (),
    *,
    varied: Mapping[str, Values | None] | None = None,
    max_inner_iterations: int = 12,
    min_patch_size: int = MIN_PATCH_PX,
) -> Space:
    """Return the space of patch size, sampling rate, inner iterations and fusion around `base`.

    Args:
        base: every other setting. A parameter that its method ignores is not varied.
        fixed: parameters that stay at the value they have in `base`.
        varied: further settings to vary, or other values for the four; None: default values.
        max_inner_iterations: most inner iterations per batch. The paper: 3, 4 and 11.
        min_patch_size: smallest patch in px.

    Raises:
        ConfigError: nothing is left to vary, or `varied` has a setting or value that cannot be.
    """
    varied = dict(varied or {})
    for name in varied:
        if name not in ROLES:
            raise ConfigError(f"--vary {name}: unknown; use one of {', '.join(ROLES)}")
        if name == "encoder" and base.task == "classification":
            raise ConfigError(f"--vary {name}: backbones of {base.task} have none; leave it out")
        if name in fixed:
            raise ConfigError(f"--vary {name}: is fixed by another option; give one of the two")
    defaults: dict[str, Values] = {
        **DEFAULT_VALUES,
        **_DEFAULTS_OF_TASK[base.task],
        "inner_iterations": Range(low=1, high=max_inner_iterations),
    }
    if varied.get("patch_size") is None and "patch_size" not in fixed:
        defaults["patch_size"] = patch_sizes(base.image_size, min_patch_size, base.task)
    values = {name: varied.get(name) or defaults.get(name) for name in (*_MISSION, *varied)}
    methods = values.get("method") or (base.method,)
    if isinstance(methods, Range):
        raise _no_range("method")
    used = frozenset().union(*(_used_by(method) for method in methods if isinstance(method, str)))
    parameters = []
    for name, wanted in values.items():
        if name in _OF_METHOD and name not in used:
            if name in varied:
                raise ConfigError(
                    f"--vary {name}: method={', '.join(map(str, methods))} does not read it; "
                    "leave it out"
                )
        elif name in fixed:
            parameters.append(Parameter(name=name, role=Role.FIXED))
        elif wanted is None:
            raise ConfigError(f"--vary {name}: needs values; write --vary {name}=A,B")
        else:
            distribution = _distribution(name, wanted, base)
            parameters.append(Parameter(name=name, role=ROLES[name], distribution=distribution))
    space = Space(base, tuple(parameters))
    if not space.distributions:
        raise ConfigError(
            f"method={base.method!r} leaves nothing to search "
            f"(fixed: {', '.join(sorted(fixed)) or 'none'}); "
            "fix fewer settings, vary another one (--vary), or train this one with "
            "`patchtrain train`"
        )
    return space


def parse_varied(texts: Sequence[str]) -> dict[str, Values | None]:
    """Return what `--vary NAME`, `NAME=A,B,C` and `NAME=LOW:HIGH` ask for.

    Raises:
        ConfigError: a name given twice, no values, or a range that is none.
    """
    varied: dict[str, Values | None] = {}
    for text in texts:
        name, separator, listed = (part.strip() for part in text.partition("="))
        if name in varied:
            raise ConfigError(f"--vary {name} is given twice; give it once, with all its values")
        varied[name] = _parse_values(text, listed) if separator else None
    return varied


def _parse_values(text: str, listed: str) -> Values:
    low, separator, high = listed.partition(":")
    if separator:
        try:
            ends = Range(low=float(low), high=float(high))
        except ValueError:
            ends = Range(low=math.nan, high=math.nan)
        if not (0 < ends.low < ends.high < math.inf):
            raise ConfigError(
                f"--vary {text}: a range is LOW:HIGH with 0 < LOW < HIGH, e.g. 1e-4:1e-2"
            )
        return ends
    values = tuple(_parse_value(text, value) for value in listed.split(","))
    if None in values:
        raise ConfigError(f"--vary {text}: has an empty value; write NAME=A,B,C or NAME=LOW:HIGH")
    return values


def _parse_value(text: str, value: str) -> Any:
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # a date such as 2026-13-01
        parsed = {}
    if isinstance(parsed, dict | list | set):
        raise ConfigError(
            f"--vary {text}: {value!r} is no value; write NAME=A,B,C or NAME=LOW:HIGH"
        )
    return parsed


def _distribution(name: str, wanted: Values, base: TrialConfig) -> BaseDistribution:
    """Return where the values of `name` come from; each is tried as a setting of `base`."""
    if isinstance(wanted, Range):
        number_type = {"sampling_rate": float, "learning_rate": float, "inner_iterations": int}
        if name not in number_type:
            raise _no_range(name)
        ends = (number_type[name](wanted.low), number_type[name](wanted.high))
        if ends != (wanted.low, wanted.high):
            raise ConfigError(
                f"--vary {name}={wanted.low:g}:{wanted.high:g}: takes whole numbers; round them"
            )
        for value in ends:
            _checked(name, value, base)
        if number_type[name] is int:
            # the paper's 3, 4 and 11 differ by factors, not by steps
            return IntDistribution(int(ends[0]), int(ends[1]), log=True)
        return FloatDistribution(float(ends[0]), float(ends[1]), log=True)
    choices = tuple(_checked(name, value, base) for value in wanted)
    if len(set(choices)) < len(choices):
        listed = ",".join(map(str, wanted))
        raise ConfigError(f"--vary {name}={listed}: has a value twice; give each once")
    return CategoricalDistribution(choices)


def _no_range(name: str) -> ConfigError:
    return ConfigError(f"--vary {name}: takes no range LOW:HIGH; write --vary {name}=A,B")


def _checked(name: str, value: Any, base: TrialConfig) -> Any:
    """Return `value` as a setting has it.

    Raises:
        ConfigError: it is none of `name`.
    """
    settings = {**dataclasses.asdict(base), name: value}
    if name == "patch_size" and base.method not in PATCH_METHODS:  # tried as a patch of a grid
        settings["method"] = "patchgd"
    try:
        return getattr(TrialConfig.from_mapping(settings), name)
    except ConfigError as error:
        raise ConfigError(f"--vary {name}: {error}") from None


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low <= value <= distribution.high


def _values(distribution: BaseDistribution, num_steps: int | None) -> Sequence[Any]:
    """Return the values of `distribution`, ascending; of a range `num_steps` ones."""
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


def patch_sizes(
    image_size: int, min_patch_size: int = MIN_PATCH_PX, task: str = "classification"
) -> tuple[int, ...]:
    """Return patch sizes in px that divide `image_size` into 2x2 to 32x32 patches and suit the
    networks of `task`, ascending.

    Raises:
        ConfigError: there is none.
    """
    step = _PATCH_STEP_PX[task]
    smallest = max(min_patch_size, -(-image_size // MAX_GRID))
    sizes: list[int] = []
    for size in range(image_size // 2, smallest - 1, -1):
        if size % step or image_size % size:
            continue
        if not sizes or size * _MIN_RATIO <= sizes[-1]:
            sizes.append(size)
    if not sizes:
        raise ConfigError(
            f"image_size={image_size} cannot be cut into a grid of patches of at least "
            f"{smallest} px{f' in multiples of {step}' if step > 1 else ''}; use a multiple of "
            f"{2 * min_patch_size}"
        )
    return tuple(reversed(sizes))


def _used_by(method: str) -> frozenset[str]:
    if method == "local_global":
        return frozenset({"patch_size", "sampling_rate", "inner_iterations", "fusion"})
    if method in PATCH_METHODS:
        return frozenset({"patch_size", "sampling_rate", "inner_iterations"})
    return frozenset({"patch_size"} if method == "downsampled" else ())
