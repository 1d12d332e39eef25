"""`MemoryGuard`: enforces a trial's budget on the CPU and reports the trial's peak.

The `MemoryMeter` raises at the first block that crosses the budget. `memory.cuda` has the guard for
GPUs, with the same interface; `memory.guards` chooses. Knows nothing of models or training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import torch

from patchtrain.memory.facts import GpuFacts
from patchtrain.memory.meter import MemoryMeter, TimelinePoint


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The most that was held, in bytes; None if the device does not report it."""

    allocated_bytes: int
    reserved_bytes: int | None
    process_bytes: int | None
    phase: str
    by_category: Mapping[str, int]
    """What the tensors in `allocated_bytes` were for; on CUDA without the libraries' workspace, and
    empty after `stop_attribution`."""

    def merged(self, other: Peak | None) -> Peak:
        """Return the higher of two peaks, for each kind of bytes by itself.

        If the higher one does not know what its memory was for, that comes from the other.
        """
        if other is None:
            return self
        higher, lower = self, other
        if other.allocated_bytes >= self.allocated_bytes:
            higher, lower = other, self
        known = lower if lower.by_category and not higher.by_category else higher
        return Peak(
            allocated_bytes=higher.allocated_bytes,
            reserved_bytes=_higher(self.reserved_bytes, other.reserved_bytes),
            process_bytes=_higher(self.process_bytes, other.process_bytes),
            phase=known.phase,
            by_category=known.by_category,
        )


class MemoryGuard:
    """Enforces one trial's budget on the CPU and reports what it holds; active inside `with`.

    Args:
        budget_bytes: None enforces nothing; peaks are still reported.
    """

    cap_level = "meter"
    facts: GpuFacts | None = None
    """What was found out about the GPU; None on the CPU."""

    def __init__(self, device: torch.device, budget_bytes: int | None) -> None:
        self.device = device
        self.budget_bytes = budget_bytes
        self._meter = MemoryMeter(device.type, self._meter_limit_bytes())
        if budget_bytes is None:
            self.cap_level = "none"

    def __enter__(self) -> MemoryGuard:
        self._meter.__enter__()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._meter.__exit__(error_type, error, traceback)

    def doing(self, phase: str) -> AbstractContextManager[None]:
        """Context: what happens inside is the part `phase` of the step."""
        return self._meter.doing(phase)

    def allocating(self, category: str) -> AbstractContextManager[None]:
        """Context: memory first seen inside is for `category` (see `meter.CATEGORIES`)."""
        return self._meter.allocating(category)

    def on_host(self) -> AbstractContextManager[None]:
        """Context: tensors first seen inside belong to the host and are not counted."""
        return self._meter.on_host()

    def adopt(self, tensors: Iterable[torch.Tensor], category: str) -> None:
        """Count `tensors` as `category` from now on."""
        self._meter.adopt(tensors, category)

    def start_peak(self) -> None:
        """Start a new peak from what is held now."""
        self._meter.reset_peak()

    def peak(self) -> Peak:
        """Return the most that was held since `start_peak`."""
        return Peak(
            allocated_bytes=self._meter.peak_bytes,
            reserved_bytes=None,
            process_bytes=None,
            phase=self._meter.peak_phase,
            by_category=dict(self._meter.peak_by_category),
        )

    @property
    def live_bytes(self) -> int:
        """What is held now."""
        return self._meter.live_bytes

    @property
    def timeline(self) -> Sequence[TimelinePoint]:
        """What was recorded inside `recording`."""
        return self._meter.timeline

    def recording(self, wanted: bool) -> AbstractContextManager[None]:
        """Context: while `wanted`, each change of what is held is added to `timeline`."""
        return self._meter.recording(wanted)

    def give_back(self) -> None:
        """Give cached memory back to the device, if memory is cached."""

    def stop_attribution(self) -> None:
        """Stop recording what memory is for, if that costs time and the cap does not need it."""

    def release(self) -> None:
        """Lift the cap; do not use the guard afterwards."""

    def _meter_limit_bytes(self) -> int | None:
        return self.budget_bytes


def _higher(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None
