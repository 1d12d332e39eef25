"""The budget on a CUDA device: `CudaGuard` caps torch's allocator and watches the whole process.

The levels that hold a budget, joined by `+`, are recorded as `cap_level`:

- `none`: there is no budget; peaks are still reported.
- `allocator`: torch's caching allocator gets the budget less the context, and raises when asked
  for more. The context is what the process holds outside that allocator: CUDA's own context, its
  kernels, the handles of cuBLAS and cuDNN.
- `watchdog`: the driver is asked every 50 ms what the whole process holds. More than the budget
  ends the trial at the next boundary of a phase; a context that has grown, as it does in the first
  steps, lowers the allocator's limit there. Only where the driver lists this process.
- `unknown_context`: the context could not be measured, so the allocator got the whole budget.
- `mig`, `mps`: the device is a slice or shared through a service that has limits of its own; a
  budget cannot be more than they leave.

Knows nothing of models or training.
"""

from __future__ import annotations

import gc
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

import torch

from patchtrain.errors import ConfigError
from patchtrain.memory.budget import MemoryGuard, Peak
from patchtrain.memory.driver import MIG, MPS, DriverError, Gpu
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.watchdog import Sighting, Watchdog
from patchtrain.units import format_bytes

_REMEDY = "raise budget, or lower batch_size, patch_size or patch_microbatch"

_ASKED = re.compile(r"(?:Tried to allocate|Requested size:) ([\d.]+) (bytes|KiB|MiB|GiB)")
_UNIT_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_LIBRARY_OUT_OF_MEMORY = re.compile(
    r"CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
"""How CUDA and its libraries report that memory ran out; torch's allocator has its own error."""

_created_context_bytes: dict[int, int] = {}
"""Device -> bytes that appeared with its context; for drivers that do not list this process."""


class CudaGuard(MemoryGuard):
    """Enforces one trial's budget on a CUDA device; see the levels above.

    The meter records what the memory is for, until `stop_attribution`; running on, its cost per
    operation would slow down short kernels.

    Attributes:
        expandable_segments: whether torch's allocator really uses them; None if it does not say.

    Raises:
        ConfigError: the device cannot hold the budget, or the budget cannot hold CUDA's own
            context.
    """

    def __init__(self, device: torch.device, budget_bytes: int | None) -> None:
        device = torch.device("cuda", device.index or 0)
        super().__init__(device, budget_bytes)
        self._attributing = True
        self._metering = False
        _ask_for_expandable_segments()
        self._gpu = Gpu(device)
        used_bytes = None if self._gpu.has_context() else self._gpu.used_bytes()
        torch.cuda.empty_cache()  # an earlier trial's leftovers do not count against this one
        self.expandable_segments = _create_context(device)
        process_bytes = self._process_bytes()
        self._watchdog: Watchdog | None = None
        self._context_bytes: int | None
        if process_bytes is not None:
            self._context_bytes = max(0, process_bytes - _reserved_bytes(device))
            self._watchdog = Watchdog(self._look, limit_bytes=budget_bytes)
        else:
            self._context_bytes = self._context_by_difference(used_bytes)
        if budget_bytes is not None:
            self._check_budget(budget_bytes)
            self._cap(budget_bytes)
        self.cap_level = self._level()
        self.start_peak()

    def __enter__(self) -> MemoryGuard:
        if self._attributing:
            super().__enter__()
            self._metering = True
        if self._watchdog is not None:
            self._watchdog.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._metering:
            super().__exit__(error_type, error, traceback)
            self._metering = False
        self._stop_watchdog()
        if error is None:
            self._check()
        elif _is_out_of_memory(error):
            raise self._as_budget_exceeded(error) from error

    @contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        """Context: what happens inside is the part `phase` of the step.

        Raises:
            BudgetExceeded: torch's allocator or a library of CUDA ran out of memory inside, or the
                process was seen above the budget.
        """
        self._check()
        with super().doing(phase):
            try:
                yield
            except RuntimeError as error:
                if _is_out_of_memory(error):
                    raise self._as_budget_exceeded(error) from error
                raise
        self._check()

    def start_peak(self) -> None:
        """Start a new peak from what is held now."""
        super().start_peak()
        torch.cuda.reset_peak_memory_stats(self.device)
        if self._watchdog is not None:
            self._watchdog.start_peak()

    def peak(self) -> Peak:
        """Return the most that was held since `start_peak`.

        The allocator counts tensors and cache; the driver reports the process, or if it does not,
        the process is cache and context together.
        """
        reserved_bytes = torch.cuda.max_memory_reserved(self.device)
        return Peak(
            allocated_bytes=torch.cuda.max_memory_allocated(self.device),
            reserved_bytes=reserved_bytes,
            process_bytes=self._process_peak_bytes(reserved_bytes),
            phase=self._meter.peak_phase,
            by_category=dict(self._meter.peak_by_category) if self._attributing else {},
        )

    @property
    def live_bytes(self) -> int:
        """What is held now, as the allocator counts it."""
        return torch.cuda.memory_allocated(self.device)

    def stop_attribution(self) -> None:
        """Stop recording what memory is for; the cap and the peaks stay."""
        self._attributing = False

    def release(self) -> None:
        """Give cached memory back to the device, lift the cap and end the watch."""
        self._stop_watchdog()
        gc.collect()  # a network's cycles hold tensors
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0, self.device)

    def _meter_limit_bytes(self) -> int | None:
        return None

    def _level(self) -> str:
        if self.budget_bytes is None:
            return "none"
        levels = ["allocator"]
        if self._watchdog is not None and not self._watchdog.failed:
            levels.append("watchdog")
        if self._context_bytes is None:
            levels.append("unknown_context")
        return "+".join([*levels, *self._gpu.partitions])

    def _process_bytes(self) -> int | None:
        with suppress(DriverError):
            return self._gpu.process_bytes()
        return None

    def _context_by_difference(self, used_bytes: int | None) -> int | None:
        """Return what appeared on the device with this process's context; None if unknown.

        This includes what other processes took or gave back at that moment.

        Args:
            used_bytes: used on the device before the context was made; None if it existed already.
        """
        index = self.device.index
        now_bytes = self._gpu.used_bytes()
        if used_bytes is not None and now_bytes is not None:
            appeared_bytes = now_bytes - used_bytes - _reserved_bytes(self.device)
            if appeared_bytes > 0:
                _created_context_bytes[index] = appeared_bytes
        return _created_context_bytes.get(index)

    def _check_budget(self, budget_bytes: int) -> None:
        total_bytes = self._gpu.total_bytes
        if budget_bytes > total_bytes:
            limit = ""
            if MPS in self._gpu.partitions and total_bytes < self._gpu.cuda_total_bytes:
                limit = ", the limit of MPS"
            elif MIG in self._gpu.partitions:
                limit = ", its MIG slice"
            raise ConfigError(
                f"budget={format_bytes(budget_bytes)} is more than {self.device} has "
                f"({format_bytes(total_bytes)}{limit}); lower it"
            )
        context_bytes = self._context_bytes or 0
        if budget_bytes <= context_bytes:
            raise ConfigError(
                f"budget={format_bytes(budget_bytes)} does not hold CUDA's own context "
                f"({format_bytes(context_bytes)}); raise it"
            )

    def _cap(self, budget_bytes: int) -> None:
        limit_bytes = max(0, budget_bytes - (self._context_bytes or 0))
        fraction = limit_bytes / self._gpu.cuda_total_bytes
        torch.cuda.set_per_process_memory_fraction(fraction, self.device)

    def _look(self) -> Sighting:
        """Look at the process, from the watchdog's thread."""
        phase = self._meter.phase
        reserved_bytes = _reserved_bytes(self.device)
        process_bytes = self._gpu.process_bytes()
        if process_bytes is None:
            raise DriverError("NVML no longer lists this process")
        is_steady = reserved_bytes == _reserved_bytes(self.device)
        return Sighting(
            process_bytes=process_bytes,
            outside_bytes=max(0, process_bytes - reserved_bytes) if is_steady else None,
            phase=phase,
        )

    def _check(self) -> None:
        """Lower the cap if the context has grown; raise if the process was over the budget."""
        if self._watchdog is None:
            return
        outside_bytes = self._watchdog.outside_bytes or 0
        if outside_bytes > (self._context_bytes or 0):
            self._context_bytes = outside_bytes
            if self.budget_bytes is not None:
                self._cap(self.budget_bytes)
        if self._watchdog.over is not None:
            raise self._overrun(self._watchdog.over)

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self.cap_level = self._level()

    def _process_peak_bytes(self, reserved_bytes: int) -> int | None:
        watchdog = self._watchdog
        if watchdog is not None and not watchdog.failed and watchdog.highest is not None:
            return watchdog.highest.process_bytes
        return None if self._context_bytes is None else reserved_bytes + self._context_bytes

    def _overrun(self, seen: Sighting) -> BudgetExceeded:
        assert self.budget_bytes is not None
        budget_bytes = self.budget_bytes
        return BudgetExceeded(
            f"out of memory in {seen.phase}: the process held {seen.process_bytes} bytes on "
            f"{self.device}, over the budget of {budget_bytes} bytes by "
            f"{seen.process_bytes - budget_bytes}, {format_bytes(self._context_bytes)} of it for "
            f"CUDA's context and libraries; {_REMEDY}",
            budget_bytes=budget_bytes,
            needed_bytes=seen.process_bytes,
            phase=seen.phase,
        )

    def _as_budget_exceeded(self, error: BaseException) -> BudgetExceeded:
        """Return `error` as a `BudgetExceeded`, with what was held and asked for at that moment."""
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that did not fit
        phase = self._meter.phase
        held_bytes = _reserved_bytes(self.device) + (self._context_bytes or 0)
        asked_bytes = _asked_bytes(str(error))
        needed_bytes = held_bytes + (asked_bytes or 0)
        asked = "more than is there" if asked_bytes is None else f"{format_bytes(asked_bytes)} more"
        return BudgetExceeded(
            f"out of memory in {phase}: {self.device} was asked for {asked} with {held_bytes} "
            f"bytes held, {self._room(needed_bytes, asked_bytes)}; {_REMEDY} ({_reason(error)})",
            budget_bytes=self.budget_bytes or self._gpu.total_bytes,
            needed_bytes=needed_bytes,
            phase=phase,
        )

    def _room(self, needed_bytes: int, asked_bytes: int | None) -> str:
        """Return, as text, what left no room: the budget or the device."""
        budget_bytes = self.budget_bytes
        if budget_bytes is not None and needed_bytes > budget_bytes:
            over_bytes = needed_bytes - budget_bytes
            return f"over the budget of {budget_bytes} bytes by {over_bytes}"
        free_bytes = self._gpu.free_bytes()
        if budget_bytes is None or asked_bytes is None or (free_bytes or 0) < asked_bytes:
            return f"and the device has {format_bytes(free_bytes)} free besides other processes"
        return f"and the budget of {budget_bytes} bytes has no room for it in one piece"


def _ask_for_expandable_segments() -> None:
    """Have torch's allocator grow segments instead of making new ones, which wastes less.

    It reads its settings when CUDA is initialised, under one of two names; which of them hides the
    other depends on torch's version. What the user has set under either stays.
    """
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    if not torch.cuda.is_initialized() and not any(name in os.environ for name in names):
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


def _create_context(device: torch.device) -> bool | None:
    """Make CUDA's context by allocating a block; return whether its segment can grow, if known."""
    address = torch.cuda.caching_allocator_alloc(1, device)
    try:
        with suppress(RuntimeError):  # not every allocator that torch can use has snapshots
            for segment in torch.cuda.memory_snapshot():
                start = segment["address"]
                if start <= address < start + segment["total_size"]:
                    return segment["is_expandable"]
        return None
    finally:
        torch.cuda.caching_allocator_delete(address)


def _reserved_bytes(device: torch.device) -> int:
    """Return what torch's allocator holds; much cheaper than `torch.cuda.memory_reserved`."""
    return torch.cuda.memory_stats_as_nested_dict(device)["reserved_bytes"]["all"]["current"]


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return not isinstance(error, BudgetExceeded)
    return isinstance(error, RuntimeError) and bool(_LIBRARY_OUT_OF_MEMORY.search(str(error)))


def _asked_bytes(text: str) -> int | None:
    match = _ASKED.search(text)
    return None if match is None else round(float(match[1]) * _UNIT_BYTES[match[2]])


def _reason(error: BaseException) -> str:
    """Return what torch said, without its advice."""
    return str(error).partition("\n")[0].partition(" If reserved but unallocated")[0].strip()
