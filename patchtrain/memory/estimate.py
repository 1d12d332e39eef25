"""The peak of a trial before it is launched: how much, when, for what, and what would lower it.

Without data set, device or the memory itself: see `dry_run`. On the CPU the predicted peak is the
one that the meter will measure; on CUDA torch's allocator is simulated on top.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from patchtrain.config import PATCH_METHODS, TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.device import target_device
from patchtrain.errors import BudgetExceeded, ConfigError
from patchtrain.memory.allocator import AllocatorPeak, simulate
from patchtrain.memory.closed_form import trace_of
from patchtrain.memory.meter import BLOCK_BYTES, CATEGORIES, rounded
from patchtrain.memory.trace import Trace, TracePeak
from patchtrain.models import build_on_meta, mixes_inputs
from patchtrain.units import format_bytes

WORKSPACE = "workspace"
"""What libraries take beside tensors, on CUDA; a key of `Estimate.attribution`."""

CUDA_WORKSPACE_BYTES = 96 * 2**20
"""Allowance for cuBLAS (32 MiB on Hopper, less before) and the convolutions' scratch memory, which
torch's allocator serves too. An assumption, not yet held against a device."""

CUDA_CONTEXT_BYTES = 600 * 2**20
"""Allowance for CUDA's context and loaded kernels, which count against a budget. An assumption; a
trial on a device measures its own."""

_ALLOCATOR_PAGE_BYTES = 20 * 2**20
"""By which torch's allocator grows for large blocks."""

KNOBS = (
    "sampling_rate", "batch_size", "patch_size", "image_size", "patch_microbatch", "precision",
    "fusion", "method", "optimizer_kernel",
)  # fmt: skip
"""Settings that lower the peak, in the order in which equals are named."""

MAXIMISED = ("sampling_rate", "patch_size", "batch_size", "image_size")
"""Settings whose largest value that fits can be asked for."""

_MAX_BATCH_SIZE = 4096
_MIN_PATCH_PX = 32
_MAX_IMAGE_PX = 65_536
_IMAGE_STEP_PX = 32
"""Steps in which `image_size` grows for methods without a grid."""


@dataclass(frozen=True)
class Estimate:
    """What training and validation of `config` will hold at most."""

    config: TrialConfig
    """With `patch_microbatch` chosen, where it was `auto`."""
    source: str
    """`dry run`, `closed form` or `cache`."""
    seconds: float
    """That it took."""
    _trace: Trace
    _target: torch.device

    @cached_property
    def predicted_peak_bytes(self) -> int:
        """The most that tensors and, on CUDA, libraries' workspace take at a time."""
        return sum(self.attribution.values())

    @property
    def device(self) -> str:
        """Kind of the device that it is for: `cpu` or `cuda`."""
        return self._target.type

    @property
    def phase(self) -> str:
        """Part of the step in which the peak is reached: `fill`, `inner_iteration` (the backbone),
        `head`, `optimizer` or `validation`.
        """
        return self._peak.phase

    @cached_property
    def attribution(self) -> Mapping[str, int]:
        """Bytes at the peak by what they are for; they add up to `predicted_peak_bytes`."""
        by_category = dict(zip(CATEGORIES, self._peak.by_category, strict=True))
        return {**by_category, WORKSPACE: self._workspace_bytes}

    @cached_property
    def predicted_reserved_bytes(self) -> int:
        """What torch's CUDA allocator will hold for it, cached blocks and gaps included."""
        return self._simulated(None).reserved_bytes

    @cached_property
    def needed_bytes(self) -> int:
        """A budget that is sure to hold it; on CUDA with an allowance for the context, and with the
        room that torch's allocator wants to see before it grows.
        """
        if self.device == "cpu":
            return self.predicted_peak_bytes
        _, num_bytes = self._requests()
        room_bytes = max(max(num_bytes) + 2 * 2**20, _ALLOCATOR_PAGE_BYTES)
        return self.predicted_reserved_bytes + room_bytes + CUDA_CONTEXT_BYTES

    def fits(self, budget_bytes: int) -> bool:
        """Whether a budget holds it. On CUDA it may do so below `needed_bytes`: torch's allocator
        gives unused cache back before it fails.
        """
        if self.device == "cpu" or self.needed_bytes <= budget_bytes:
            return self.needed_bytes <= budget_bytes
        # the allocator may overshoot its limit by less than a page
        limit_bytes = budget_bytes - CUDA_CONTEXT_BYTES - _ALLOCATOR_PAGE_BYTES
        return limit_bytes > 0 and self._simulated(limit_bytes).fits

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "predicted_peak_bytes": self.predicted_peak_bytes,
            "predicted_reserved_bytes": self.predicted_reserved_bytes,
            "needed_bytes": self.needed_bytes,
            "attribution": dict(self.attribution),
            "phase": self.phase,
            "patch_microbatch": self.config.patch_microbatch,
            "device": self.device,
            "source": self.source,
            "seconds": round(self.seconds, 4),
        }

    @cached_property
    def _peak(self) -> TracePeak:
        return self._trace.peak(BLOCK_BYTES, len(CATEGORIES))

    @property
    def _workspace_bytes(self) -> int:
        return 0 if self.device == "cpu" else CUDA_WORKSPACE_BYTES

    def _simulated(self, limit_bytes: int | None) -> AllocatorPeak:
        return simulate(*self._requests(), limit_bytes=limit_bytes)

    def _requests(self) -> tuple[list[int], list[int]]:
        """Return what the allocator is asked (see `Trace.requests`), workspace first."""
        blocks, num_bytes = self._trace.requests()
        if not self._workspace_bytes:
            return blocks, num_bytes
        return [-1, *blocks], [self._workspace_bytes, *num_bytes]


@dataclass(frozen=True)
class Knob:
    """One setting moved, and the peak that is predicted then."""

    name: str
    value: Any
    needed_bytes: int


def estimate(config: TrialConfig, num_validated: int | None = None) -> Estimate:
    """Predict the peak of `config`; `patch_microbatch: auto` is chosen for its budget.

    Args:
        num_validated: images of a validation batch; None: `config.batch_size`.

    Raises:
        ConfigError: the networks cannot be built or trained.
    """
    started = time.perf_counter()
    target = target_device(config.device)
    if config.patch_microbatch == "auto":
        config = _with_largest_chunk(config, num_validated)
    trace, source = trace_of(config, num_classes(config), target, num_validated)
    return Estimate(config, source, time.perf_counter() - started, trace, target)


def fixed_bytes(config: TrialConfig) -> int:
    """Return what any training of `config`'s networks holds: parameters, gradients and AdamW's
    state. Patches, batches and chunks change nothing about it.
    """
    network = build_on_meta(config, num_classes(config))
    sizes = [rounded(p.numel() * p.element_size()) for p in network.parameters()]
    buffers = [rounded(b.numel() * b.element_size()) for b in network.buffers()]
    # parameter, gradient, two moments, and the number of steps that AdamW counts for each
    return 4 * sum(sizes) + sum(buffers) + BLOCK_BYTES * len(sizes)


def check_budget(config: TrialConfig) -> None:
    """Refuse a budget that cannot hold the networks and their optimizer, whatever else is set.

    Raises:
        ConfigError: says what is needed.
    """
    if config.budget is None:
        return
    least = fixed_bytes(config)
    if target_device(config.device).type == "cuda":
        least += CUDA_CONTEXT_BYTES
    if config.budget < least:
        raise ConfigError(
            f"budget={format_bytes(config.budget)} is below the {format_bytes(least)} ({least} "
            f"bytes) that parameters, gradients and optimizer state of backbone="
            f"{config.backbone} and aggregator={config.aggregator} take alone; raise it, or use "
            "smaller networks"
        )


def knobs(config: TrialConfig, base: Estimate) -> list[Knob]:
    """Return what the peak would be with one setting of `config` moved a step, lowest first; only
    settings that lower it.
    """
    found = []
    for name in KNOBS:
        for value in _lower_values(base.config, name):
            try:
                other = estimate(replace(base.config, **{name: value}))
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
    patches = config.method in PATCH_METHODS
    influences = {
        "sampling_rate": patches,
        "patch_size": patches or config.method == "downsampled",
        "image_size": config.method != "downsampled",
        "batch_size": True,
    }
    if not influences[name]:
        raise ConfigError(
            f"--max {name}: it does not change the memory of method={config.method}; use another "
            "setting"
        )


def largest(config: TrialConfig, name: str, budget_bytes: int) -> Any | None:
    """Return the largest value of `name`, one of `MAXIMISED`, with which `config` fits; None where
    none does. Every other setting stays, so k grows with the grid as `sampling_rate` says.

    Raises:
        ConfigError: see `check_maximised`.
    """
    check_maximised(config, name)
    patches = config.method in PATCH_METHODS
    if config.patch_microbatch == "auto":  # fits where the smallest chunk does
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
    if name == "sampling_rate":
        step, low, high = 1 / config.num_patches, 1, config.num_patches
    elif name == "batch_size":
        step, low, high = 1, 1, _MAX_BATCH_SIZE
    else:
        step = config.patch_size if patches else _IMAGE_STEP_PX
        low, high = (2 if patches else 1), _MAX_IMAGE_PX // step
    power = 2 if name == "image_size" else 1
    number_now = round(getattr(config, name) / step)
    num = _largest_number(
        lambda n: estimated(n * step), budget_bytes, low, high, tried=(number_now,), power=power
    )
    return None if num is None else num * step


def check_fits(chosen: Estimate, budget_bytes: int) -> None:
    """Refuse to launch what will not fit.

    Raises:
        BudgetExceeded: says by how much and what would.
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
    """Return, as text, a setting with which `config` fits in chunks, if one alone is enough."""
    names = ("batch_size", "sampling_rate", "patch_size")
    for name in names:
        try:
            value = largest(replace(config, patch_microbatch="auto"), name, budget_bytes)
        except ConfigError:
            continue
        if value is not None:
            return f"use {name}={value}"
    return f"no {', '.join(names)} alone is enough: use smaller networks"


def _with_largest_chunk(config: TrialConfig, num_validated: int | None) -> TrialConfig:
    """Return `config` with the largest chunk that fits its budget, or the smallest if none does."""
    whole = replace(config, patch_microbatch="none")
    budget_bytes = config.budget
    if budget_bytes is None:
        return whole
    all_at_once = estimate(whole, num_validated)
    if all_at_once.fits(budget_bytes):
        return whole
    num_inputs = config.batch_size * config.inputs_per_image
    if mixes_inputs(config):
        if config.method not in PATCH_METHODS:
            return whole  # the batch is the smallest chunk
        step, most = config.inputs_per_image, config.batch_size - 1
    else:
        step, most = 1, num_inputs - 1
    if most < 1:
        return whole
    num = _largest_number(
        lambda n: estimate(replace(config, patch_microbatch=n * step), num_validated),
        budget_bytes,
        1,
        most,
        beyond=all_at_once,
    )
    return replace(config, patch_microbatch=(num or 1) * step)


def _largest_number(
    estimated: Callable[[int], Estimate | None],
    budget_bytes: int,
    low: int,
    high: int,
    *,
    beyond: Estimate | None = None,
    tried: Sequence[int] = (),
    power: int = 1,
) -> int | None:
    """Return the largest number from `low` to `high` whose estimate fits; None where none does.

    Estimates grow with a power of the number, about in a straight line, so the next one to try is
    where the line through two known ones meets the budget.

    Args:
        estimated: None for a number with which nothing can be trained; so small ones may be.
        beyond: that of `high` + 1, if it is known not to fit.
        tried: numbers to start from, beside `low` and its doubles.
    """
    needed = {} if beyond is None else {high + 1: beyond.needed_bytes}

    def fits(number: int) -> bool:
        found = estimated(number)
        if found is not None:
            needed[number] = found.needed_bytes
        return found is not None and found.fits(budget_bytes)

    doubles = (low << power_of_two for power_of_two in range(high.bit_length()))
    fitting = next(
        (n for n in (low, *tried, *doubles) if low <= n <= high and n not in needed and fits(n)), 0
    )
    if not fitting:
        return None
    failing = high + 1
    halve = False
    while failing - fitting > 1:
        known = sorted(number for number in needed if number <= failing)
        below, above = known[-2:] if len(known) > 1 else (fitting, fitting)
        growth = needed[above] - needed[below]
        if halve and failing in needed:
            trying = (fitting + failing) // 2
        elif growth > 0:
            slope = growth / (above**power - below**power)
            room = (budget_bytes - needed[fitting]) / slope
            trying = int((fitting**power + room) ** (1 / power))
        else:
            trying = 2 * fitting
        trying = min(max(trying, fitting + 1), failing - 1)
        if fits(trying):
            fitting = trying
        else:
            failing = trying
        halve = not halve  # a line alone may creep along a curve
    return fitting


def _lower_values(config: TrialConfig, name: str) -> Iterator[Any]:
    """Yield values of the setting `name` that may lower the peak of `config`, nearest first."""
    patches = config.method in PATCH_METHODS
    if name == "sampling_rate" and patches and config.num_sampled > 1:
        yield config.num_sampled // 2 / config.num_patches
    elif name == "batch_size" and config.batch_size > 1:
        yield config.batch_size // 2
    elif name == "patch_size" and config.method not in ("full", "checkpointed"):
        yield from (size for size in _divisors(config.image_size) if size < config.patch_size)
    elif name == "image_size" and config.method != "downsampled":
        step = config.patch_size if patches else 1
        yield config.image_size // 2 // step * step
    elif name == "patch_microbatch":
        num_inputs = config.batch_size * config.inputs_per_image
        at_once = config.patch_microbatch
        yield (min(at_once, num_inputs) if isinstance(at_once, int) else num_inputs) // 2
    elif name == "precision" and config.precision == "fp32":
        yield "bf16"
    elif name == "fusion" and config.fusion == "concat" and config.method == "local_global":
        yield "add"
    elif name == "method" and config.method == "full":
        yield "checkpointed"
    elif name == "optimizer_kernel" and config.optimizer_kernel in ("foreach", "loop"):
        yield "fused"


def _divisors(image_size: int) -> list[int]:
    """Return patch sizes in px that divide `image_size`, largest first."""
    sizes = range(image_size // 2, _MIN_PATCH_PX - 1, -1)
    return [size for size in sizes if image_size % size == 0]
