"""`patch_space`: the space around a configuration, checked setting by setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from patchtrain import catalog
from patchtrain.catalog import Range, Role, Values
from patchtrain.config import TrialConfig, checked_setting
from patchtrain.errors import ConfigError
from sweeps.search.settings import (
    ALWAYS_VARIED,
    SEARCHABLE,
    default_values,
    ignored_by,
    number_type,
    role,
)
from sweeps.search.space import Parameter, Space

MIN_PATCH_PX = 32
"""Backbones shrink an image 32-fold; a smaller patch has no feature left."""

MAX_GRID = 32
"""Most patches along one side. The paper: 4096 px in patches of 128 px."""

_MIN_RATIO = 1.5
"""Patch sizes closer than this to each other differ too little to spend trials on."""


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
        ConfigError: nothing is left to vary, or `varied` has an unknown setting or a bad value.
    """
    varied = dict(varied or {})
    _check_names(varied, fixed, base.task)
    wanted = {
        name: varied.get(name) or default_values(name, base.task)
        for name in (*ALWAYS_VARIED, *varied)
    }
    if varied.get("inner_iterations") is None:
        wanted["inner_iterations"] = Range(low=1, high=max_inner_iterations)
    if wanted["patch_size"] is None and "patch_size" not in fixed:
        wanted["patch_size"] = patch_sizes(base.image_size, min_patch_size, base.task)
    methods = _methods(wanted, base)
    ignored = frozenset.intersection(*(ignored_by(method) for method in methods))
    parameters = []
    for name, values in wanted.items():
        if name not in ignored:
            parameters.append(_parameter(name, values, base, methods, is_fixed=name in fixed))
        elif name in varied:
            raise ConfigError(
                f"--vary {name}: method={', '.join(methods)} does not read it; leave it out"
            )
    space = Space(base, tuple(parameters))
    if not space.distributions:
        raise _nothing_to_search(base, fixed)
    return space


def patch_sizes(
    image_size: int, min_patch_size: int = MIN_PATCH_PX, task: str = "classification"
) -> tuple[int, ...]:
    """Return patch sizes in px that divide `image_size` into 2x2 to 32x32 patches and suit the
    networks of `task`, ascending.

    Raises:
        ConfigError: no size does.
    """
    step = catalog.task(task).patch_step_px
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


def _check_names(varied: Collection[str], fixed: Collection[str], task: str) -> None:
    for name in varied:
        if name not in SEARCHABLE:
            raise ConfigError(f"--vary {name}: unknown; use one of {', '.join(SEARCHABLE)}")
        if not catalog.reads(task, name):
            raise ConfigError(f"--vary {name}: {task} does not read it; leave it out")
        if name in fixed:
            raise ConfigError(f"--vary {name}: is fixed by another option; give one of the two")


def _methods(wanted: Mapping[str, Values | None], base: TrialConfig) -> list[str]:
    """Return the methods of the space."""
    methods = wanted.get("method") or (base.method,)
    if isinstance(methods, Range):
        raise _no_range("method")
    return [_checked("method", method, base, [base.method]) for method in methods]


def _parameter(
    name: str,
    values: Values | None,
    base: TrialConfig,
    methods: Sequence[str],
    *,
    is_fixed: bool,
) -> Parameter:
    if is_fixed:
        return Parameter(name=name, role=Role.FIXED)
    if values is None:
        raise ConfigError(f"--vary {name}: needs values; write --vary {name}=A,B")
    if isinstance(values, Range):
        distribution = _range(name, values, base, methods)
    else:
        distribution = _choices(name, values, base, methods)
    return Parameter(name=name, role=role(name), distribution=distribution)


def _range(name: str, values: Range, base: TrialConfig, methods: Sequence[str]) -> BaseDistribution:
    """Return the distribution of a range, whose ends are tried as settings of `base`."""
    number = number_type(name)
    if number is None:
        raise _no_range(name)
    low, high = number(values.low), number(values.high)
    if (low, high) != (values.low, values.high):
        raise ConfigError(
            f"--vary {name}={values.low:g}:{values.high:g}: takes whole numbers; round them"
        )
    for end in (low, high):
        _checked(name, end, base, methods)
    if number is int:
        # the paper's 3, 4 and 11 differ by factors, not by steps
        return IntDistribution(int(low), int(high), log=True)
    return FloatDistribution(low, high, log=True)


def _choices(
    name: str, values: tuple[Any, ...], base: TrialConfig, methods: Sequence[str]
) -> BaseDistribution:
    """Return the distribution of a closed list, each tried as a setting of `base`."""
    choices = tuple(_checked(name, value, base, methods) for value in values)
    if len(set(choices)) < len(choices):
        listed = ",".join(map(str, values))
        raise ConfigError(f"--vary {name}={listed}: has a value twice; give each once")
    return CategoricalDistribution(choices)


def _checked(name: str, value: Any, base: TrialConfig, methods: Sequence[str]) -> Any:
    """Return `value` as the configuration stores it.

    Raises:
        ConfigError: the setting does not accept it, or not together with one of the `methods`.
    """
    try:
        checked = checked_setting(name, value)
        for method in methods:
            dataclasses.replace(base, **{"method": method, name: checked})
    except ConfigError as error:
        raise ConfigError(f"--vary {name}: {error}") from None
    return checked


def _no_range(name: str) -> ConfigError:
    return ConfigError(f"--vary {name}: takes no range LOW:HIGH; write --vary {name}=A,B")


def _nothing_to_search(base: TrialConfig, fixed: Collection[str]) -> ConfigError:
    return ConfigError(
        f"method={base.method!r} leaves nothing to search "
        f"(fixed: {', '.join(sorted(fixed)) or 'none'}); "
        "fix fewer settings, vary another one (--vary), or train this one with "
        "`patchtrain train`"
    )
