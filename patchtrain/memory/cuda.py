"""The budget on a CUDA device: `CudaGuard` caps torch's allocator and watches the whole process.

The levels that hold a budget, joined by `+`, are recorded as `cap_level`:

- `none`: there is no budget; peaks are still reported.
- `allocator`: torch's caching allocator gets the budget less the context, and raises when asked
  for more. The context is what the process holds outside that allocator after a warm-up: CUDA's own
  context, its kernels, the handles of cuBLAS and cuDNN.
- `watchdog`: the driver lists this process, and is asked every 50 ms. A context that has grown
  lowers the allocator's limit at the next boundary of a phase; a process over its budget ends there
  if it still is after cached memory was given back.
- `device_watch`: the driver does not list this process, which was alone on the device when it
  came: what the device has in use more than before is taken for it, until others come.
- `unknown_context`: the context could not be measured, so the one that is known of this GPU model,
  or assumed, is taken off the budget.
- `mig`, `mps`: the device is a slice or shared through a service that has limits of its own; a
  budget cannot be more than they leave.

Knows nothing of training.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from patchtrain.memory.budget import MemoryGuard, Peak
from patchtrain.memory.driver import DriverError, Gpu, driver_version
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.facts import ASSUMED, GpuFacts, recall, remember
from patchtrain.memory.neighbours import Neighbours
from patchtrain.memory.out_of_memory import asked_bytes_of, is_out_of_memory, reason_of
from patchtrain.memory.precision import check_precision, fp32_precision
from patchtrain.memory.process import BY_DIFFERENCE, LISTED, UNKNOWN, OwnMemory
from patchtrain.memory.refusals import check_budget, full_device, why_no_room
from patchtrain.memory.segments import choose_segments, create_context
from patchtrain.memory.warmup import warm_up
from patchtrain.memory.watchdog import Sighting, Watchdog
from patchtrain.units import format_bytes

_REMEDY = "raise budget, or lower batch_size, patch_size or patch_microbatch"

_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN's, which takes a workspace that no estimate knows."""

_SETTLE_S = 0.3
"""How long to wait whether memory turns out to be a neighbour's, where processes are not listed."""

_LEVELS = {LISTED: "watchdog", BY_DIFFERENCE: "device_watch"}

_measured: dict[int, OwnMemory] = {}
"""Device -> what the first guard of this process measured there: a context is made only once."""


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

    def __init__(
        self, device: torch.device, budget_bytes: int | None, precision: str = "fp32"
    ) -> None:
        device = torch.device("cuda", device.index or 0)
        check_precision(precision, device)
        super().__init__(device, budget_bytes)
        self._attributing = True
        self._metering = False
        self._precision = precision
        self._entered = ExitStack()
        self._gpu = Gpu(device)
        self._neighbours = Neighbours(self._gpu.uuid)
        choose_segments(self._gpu)
        torch.cuda.empty_cache()  # an earlier trial's leftovers do not count against this one
        try:
            self._own = self._measure()
        except torch.OutOfMemoryError as error:
            raise full_device(self._gpu) from error
        self.facts: GpuFacts = self._found_out()
        self._context_bytes = self._own.context_bytes or self.facts.context_bytes
        self._watchdog: Watchdog | None = None
        if self._own.how in _LEVELS:
            self._watchdog = Watchdog(self._look, limit_bytes=budget_bytes)
        if budget_bytes is not None:
            check_budget(
                self._gpu,
                budget_bytes,
                context_bytes=self._context_bytes,
                reserved_bytes=self._reserved_bytes(),
                own_pid=self._own.pid,
            )
            self._cap(budget_bytes)
        self._num_refused = self._count_refused()
        self._judged: BaseException | None = None
        """An error of a phase that did not mean that memory ran out."""
        self.cap_level = self._level()
        self.start_peak()

    def __enter__(self) -> MemoryGuard:
        self._num_refused = self._count_refused()
        self._entered.enter_context(fp32_precision(self._precision))
        self._entered.enter_context(sdpa_kernel(_ATTENTION))
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
        self._entered.close()
        self._stop_watchdog()
        if error is None:
            self._check()
        elif error is not self._judged and self._is_out_of_memory(error, self._num_refused):
            raise self._as_budget_exceeded(error) from error

    @contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        """Context: what happens inside is the part `phase` of the step.

        Raises:
            BudgetExceeded: torch's allocator or a library of CUDA ran out of memory inside, or the
                process was seen above the budget.
        """
        self._look_again()
        self._check()
        num_refused = self._count_refused()
        with super().doing(phase):
            try:
                yield
            except RuntimeError as error:
                if error is not self._judged and self._is_out_of_memory(error, num_refused):
                    raise self._as_budget_exceeded(error) from error
                self._judged = error  # an earlier phase's refusal says nothing about it
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

        The allocator counts tensors and cache. The process is what the driver reported, and at
        least cache and context together; None if neither is known.
        """
        if self._watchdog is not None:
            self._watchdog.look()
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

    def give_back(self) -> None:
        """Give cached memory back to the device."""
        torch.cuda.empty_cache()

    def stop_attribution(self) -> None:
        """Stop recording what memory is for; the cap and the peaks stay."""
        self._attributing = False

    def release(self) -> None:
        """Give cached memory back to the device, lift the cap and end the watch."""
        self._stop_watchdog()
        gc.collect()  # a network's cycles hold tensors
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0, self.device)
        self._neighbours.leave()

    def _meter_limit_bytes(self) -> int | None:
        return None

    def _level(self) -> str:
        if self.budget_bytes is None:
            return "none"
        levels = ["allocator"]
        if self._watchdog is not None and not self._watchdog.failed:
            levels.append(_LEVELS[self._own.how])
        if self._own.context_bytes is None:
            levels.append("unknown_context")
        return "+".join([*levels, *self._gpu.partitions])

    def _measure(self) -> OwnMemory:
        """Make the context, load what the trial will use, and measure what that takes."""
        index = self.device.index
        with self._neighbours.turn():
            used_bytes = None if self._gpu.has_context() else self._gpu.used_bytes()
            self.expandable_segments = create_context(self.device)
            warm_up(self.device, self._precision)
            torch.cuda.empty_cache()
            own = OwnMemory(self._gpu, self._neighbours, self._reserved_bytes)
            own.measure(used_bytes)
            self._neighbours.join()
        if own.context_bytes is None:  # made by an earlier guard, which saw it appear
            own = _measured.get(index, own)
            own.warmed_up()
            return own
        _measured[index] = own
        return own

    def _found_out(self) -> GpuFacts:
        """Return what is known of this GPU now, and keep it for later."""
        driver, version = driver_version(), str(torch.__version__)
        known = recall(self._gpu.name, driver, version)
        context_bytes = self._own.context_bytes
        found = replace(
            known or ASSUMED,
            total_bytes=self._gpu.cuda_total_bytes,
            expandable_segments=bool(self.expandable_segments),
            lists_process=self._own.how == LISTED,
        )
        if context_bytes is None:
            return found
        found = replace(
            found,
            name=self._gpu.name,
            driver=driver,
            torch=version,
            context_by_precision={**found.context_by_precision, self._precision: context_bytes},
        )
        found = replace(found, context_bytes=max(found.context_by_precision.values()))
        if found != known:
            remember(found)
        return found

    def _cap(self, budget_bytes: int) -> None:
        limit_bytes = self.facts.allocator_limit_bytes(budget_bytes, self._context_bytes)
        fraction = limit_bytes / self._gpu.cuda_total_bytes
        torch.cuda.set_per_process_memory_fraction(fraction, self.device)

    def _look(self) -> Sighting:
        """Look at the process; also from the watchdog's thread."""
        return self._sighting(exactly=False)

    def _sighting(self, *, exactly: bool) -> Sighting:
        phase = self._meter.phase
        reserved_bytes = self._reserved_bytes()
        process_bytes = self._own.held_bytes(exactly=exactly)
        if process_bytes is None:
            raise DriverError("the driver does not tell what this process holds")
        is_steady = reserved_bytes == self._reserved_bytes()
        return Sighting(
            process_bytes=process_bytes,
            outside_bytes=max(0, process_bytes - reserved_bytes) if is_steady else None,
            phase=phase,
        )

    def _look_again(self) -> None:
        """Look now, and once more if the context seems to have grown: growth counts if it lasts."""
        watchdog = self._watchdog
        if watchdog is None:
            return
        watchdog.look()
        seen = watchdog.latest
        if seen is not None and (seen.outside_bytes or 0) > self._context_bytes:
            watchdog.look()

    def _check(self) -> None:
        """Lower the cap if the context has grown; raise if the process is over the budget and
        giving back cached memory does not help.
        """
        if self._watchdog is None or self._has_company():
            return
        outside_bytes = self._watchdog.outside_bytes or 0
        if outside_bytes > self._context_bytes:
            self._context_bytes = outside_bytes
            if self.budget_bytes is not None:
                self._cap(self.budget_bytes)
        if self._watchdog.over is None or self.budget_bytes is None:
            return
        torch.cuda.empty_cache()
        if self._own.how == BY_DIFFERENCE:
            time.sleep(_SETTLE_S)
        try:
            now = self._sighting(exactly=True)
        except DriverError:
            if self._has_company():
                return
            now = self._watchdog.over
        if now.process_bytes > self.budget_bytes:
            raise self._overrun(self._watchdog.over)
        self._watchdog.over = None

    def _has_company(self) -> bool:
        """Return whether others came to a device that was watched as a whole. What was seen of them
        is forgotten, and the cap is again what the process's own context leaves.
        """
        if self._watchdog is None or self._own.how != UNKNOWN:
            return False
        self._watchdog.over = None
        own_bytes = self._own.context_bytes
        if own_bytes is not None and own_bytes != self._context_bytes:
            self._context_bytes = own_bytes
            if self.budget_bytes is not None:
                self._cap(self.budget_bytes)
        return True

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self.cap_level = self._level()

    def _process_peak_bytes(self, reserved_bytes: int) -> int | None:
        """Return the most that the process held; None if unknown.

        Args:
            reserved_bytes: the most that torch's allocator held.
        """
        watchdog, context_bytes = self._watchdog, self._own.context_bytes
        if context_bytes is None or (watchdog is not None and self._own.how == UNKNOWN):
            return None
        least_bytes = reserved_bytes + context_bytes
        if watchdog is None or watchdog.highest is None:
            return least_bytes
        return max(least_bytes, watchdog.highest.process_bytes)

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
        held_bytes = self._reserved_bytes() + self._context_bytes
        asked_bytes = asked_bytes_of(error)
        needed_bytes = held_bytes + (asked_bytes or 0)
        room = why_no_room(self._gpu, self.budget_bytes, needed_bytes, asked_bytes)
        asked = "more than is there" if asked_bytes is None else f"{format_bytes(asked_bytes)} more"
        return BudgetExceeded(
            f"out of memory in {phase}: {self.device} was asked for {asked} with {held_bytes} "
            f"bytes held, {room}; {_REMEDY} ({reason_of(error)})",
            budget_bytes=self.budget_bytes or self._gpu.total_bytes,
            needed_bytes=needed_bytes,
            phase=phase,
        )

    def _reserved_bytes(self) -> int:
        """Return what torch's allocator holds; much cheaper than `torch.cuda.memory_reserved`."""
        stats = torch.cuda.memory_stats_as_nested_dict(self.device)
        return stats["reserved_bytes"]["all"]["current"]

    def _count_refused(self) -> int:
        """Return how many requests torch's allocator has refused."""
        return torch.cuda.memory_stats_as_nested_dict(self.device).get("num_ooms", 0)

    def _is_out_of_memory(self, error: BaseException, num_refused: int) -> bool:
        """Return whether `error` means that memory ran out since `num_refused` were counted."""
        return not isinstance(error, BudgetExceeded) and is_out_of_memory(
            error,
            was_refused=self._count_refused() > num_refused,
            free_bytes=self._gpu.free_bytes(),
        )
