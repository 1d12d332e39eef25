"""How to make a trial fit: settings that lower its peak, and the largest value within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.largest import largest_number
from patchtrain.estimation.peak import Estimate
from patchtrain.estimation.predict import estimate
from patchtrain.memory.exceeded import BudgetExceeded

KNOBS = (
    "sampling_rate", "batch_size", "patch_size", "image_size", "patch_microbatch", "precision",
    "fusion", "global_pass", "method", "optimizer_kernel",
)  # fmt: skip
"""Settings that may lower the peak; those that lower it equally are listed in this order."""

MAXIMISED = ("sampling_rate", "patch_size", "batch_size", "image_size")
"""Settings whose largest fitting value can be asked for."""

_MAX_BATCH_SIZE = 4096
_MIN_PATCH_PX = 32
_MAX_IMAGE_PX = 65_536
_IMAGE_STEP_PX = 32
"""Steps in which `image_size` grows for methods without a grid."""


@dataclass(frozen=True)
class Knob:
    """One setting moved a step, and the peak predicted with it."""

    name: str
    value: Any
    needed_bytes: int


def knobs(config: TrialConfig, base: Estimate) -> list[Knob]:
    """Return the settings of `config` that lower the peak when moved one step, each by itself, the
    lowest peak first.
    """
    found = []
    for name in KNOBS:
        for value in _lower_values(base.config, name):
            try:
                other = estimate(replace(base.config, **{name: value}), facts=base.facts)
            except ConfigError:
                continue
            found.append(Knob(name, value, other.needed_bytes))
            break
    lower = [knob for knob in found if knob.needed_bytes < base.needed_bytes]
    return sorted(lower, key=lambda knob: knob.needed_bytes)


def check_maximised(config: TrialConfig, name: str) -> None:
    """Refuse a setting whose largest value cannot be asked for.

    Raises:
        ConfigError: unknown, or without influence on the memory of this method.
    """
    if name not in MAXIMISED:
        raise ConfigError(f"--max {name}: unknown; use one of {', '.join(MAXIMISED)}")
    if not _influences(config, name):
        raise ConfigError(
            f"--max {name}: it does not change the memory of method={config.method}; use another "
            "setting"
        )


def largest(config: TrialConfig, name: str, budget_bytes: int) -> Any | None:
    """Return the largest value of `name`, one of `MAXIMISED`, with which `config` fits; None if
    none does. All other settings stay, so k grows with the grid as `sampling_rate` says.

    Raises:
        ConfigError: see `check_maximised`.
    """
    check_maximised(config, name)
    if config.patch_microbatch == "auto":  # fits if the smallest chunk does
        config = replace(config, patch_microbatch=1)

    def estimated(value: Any) -> Estimate | None:
        try:
            return estimate(replace(config, **{name: value}))
        except ConfigError:
            return None

    if name == "patch_size":
        for size in _divisors(config.image_size):
            at_size = estimated(size)
            if at_size is not None and at_size.fits(budget_bytes):
                return size
        return None
    step, low, high = _steps(config, name)
    power = 2 if name == "image_size" else 1
    number_now = round(getattr(config, name) / step)
    num = largest_number(
        lambda n: estimated(n * step), budget_bytes, low, high, tried=(number_now,), power=power
    )
    return None if num is None else num * step


def _steps(config: TrialConfig, name: str) -> tuple[float, int, int]:
    """Return the step in which the setting `name` is tried, and the fewest and most steps."""
    if name == "sampling_rate":
        return 1 / config.num_patches, 1, config.num_patches
    if name == "batch_size":
        return 1, 1, _MAX_BATCH_SIZE
    if config.samples_patches:
        return config.patch_size, 2, _MAX_IMAGE_PX // config.patch_size
    return _IMAGE_STEP_PX, 1, _MAX_IMAGE_PX // _IMAGE_STEP_PX


def check_fits(chosen: Estimate, budget_bytes: int) -> None:
    """Refuse to launch a trial that will not fit.

    Raises:
        BudgetExceeded: says by how much, and which setting would fit.
    """
    if chosen.fits(budget_bytes):
        return
    over = chosen.needed_bytes - budget_bytes
    raise BudgetExceeded(
        f"predicted out of memory in {chosen.phase}: even patch_microbatch="
        f"{chosen.config.patch_microbatch} needs {chosen.needed_bytes} bytes, over the budget of "
        f"{budget_bytes} bytes by {over}; {_remedy(chosen.config, budget_bytes)}, or "
        f"budget={chosen.needed_bytes}",
        budget_bytes=budget_bytes,
        needed_bytes=chosen.needed_bytes,
        phase=chosen.phase,
    )


def _remedy(config: TrialConfig, budget_bytes: int) -> str:
    """Return, as text, a setting with which `config` fits in chunks, if one setting is enough."""
    names = ("batch_size", "sampling_rate", "patch_size")
    for name in names:
        try:
            value = largest(replace(config, patch_microbatch="auto"), name, budget_bytes)
        except ConfigError:
            continue
        if value is not None:
            return f"use {name}={value}"
    return f"no {', '.join(names)} alone is enough: use smaller networks"


def _lower_values(config: TrialConfig, name: str) -> Iterator[Any]:
    """Yield values of the setting `name` that may lower the peak of `config`, nearest first."""
    patches = config.samples_patches
    if name == "sampling_rate" and patches and config.num_sampled > 1:
        yield config.num_sampled // 2 / config.num_patches
    elif name == "batch_size" and config.batch_size > 1:
        yield config.batch_size // 2
    elif name == "patch_size" and _influences(config, name):
        yield from (size for size in _divisors(config.image_size) if size < config.patch_size)
    elif name == "image_size" and _influences(config, name):
        step = config.patch_size if patches else 1
        yield config.image_size // 2 // step * step
    elif name == "patch_microbatch":
        num_inputs = config.batch_size * config.inputs_per_image
        at_once = config.patch_microbatch
        yield (min(at_once, num_inputs) if isinstance(at_once, int) else num_inputs) // 2
    elif name == "precision" and not config.is_16_bits:
        yield "bf16"
    elif name == "fusion" and config.fusion == "concat" and config.method_facts.has_global:
        yield "add"
    elif name == "global_pass" and config.trains_on_global:
        yield "filled"
    elif name == "method" and config.method_facts.leaner is not None:
        yield config.method_facts.leaner
    elif name == "optimizer_kernel" and config.optimizer_kernel in ("foreach", "loop"):
        yield "fused"


def _influences(config: TrialConfig, name: str) -> bool:
    """Return whether the memory of the method depends on the setting `name`."""
    if name == "sampling_rate":
        return config.samples_patches
    if name in ("patch_size", "image_size"):
        return config.samples_patches or config.method_facts.input_side == name
    return True


def _divisors(image_size: int) -> list[int]:
    """Return patch sizes in px that divide `image_size`, largest first."""
    sizes = range(image_size // 2, _MIN_PATCH_PX - 1, -1)
    return [size for size in sizes if image_size % size == 0]
