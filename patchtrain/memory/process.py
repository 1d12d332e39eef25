"""`OwnMemory`: what this process holds on a GPU, from a driver that may not say so.

In a container NVML lists the processes by other numbers, or this one with 0 bytes, or not at all.
So a block of odd size is allocated: the row that grows by it is this process's. Without such a row
the device's used memory has to do, if no one else uses the device. Knows nothing of budgets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import torch

from patchtrain.memory.driver import DriverError, Gpu
from patchtrain.memory.neighbours import Neighbours

LISTED, BY_DIFFERENCE, UNKNOWN = "listed", "by difference", "unknown"
"""How the process's memory is known: its row in the driver's list; what the device lost when this
process came, as no one else uses it; not at all."""

_MIB = 2**20
_PROBE_BYTES = 38 * _MIB
"""An odd size: no other process grows by just that much at the same moment."""
_ROUNDING_BYTES = 2 * _MIB
"""The driver hands out memory in pages of this size."""
_LEAST_CONTEXT_BYTES = 16 * _MIB
_MOST_CONTEXT_BYTES = 1536 * _MIB
"""A context outside of these is someone else's memory. Eagerly loaded kernels take about 1 GB."""
_MOST_GROWTH_BYTES = 512 * _MIB
"""A context grows by less after the warm-up; more is someone else's, who is not listed."""
_UNEXPLAINED_BYTES = 8 * _MIB
"""The list is asked when used memory differs by more from what is known."""
_LIST_EVERY_S = 1.5
_LIST_AT_MOST_EVERY_S = 0.1
"""Listing processes holds a lock of the driver for milliseconds; used memory takes microseconds. So
the list is asked seldom, even while neighbours change what is in use."""

Reserved = Callable[[], int]
"""Returns the bytes that torch's allocator holds."""


class OwnMemory:
    """What this process holds on `gpu`.

    Attributes:
        how: `LISTED`, `BY_DIFFERENCE` or `UNKNOWN`.
        context_bytes: held outside torch's allocator when it was measured; None if unknown.
        pid: under which the driver lists this process; None if it does not.
    """

    def __init__(self, gpu: Gpu, neighbours: Neighbours, reserved: Reserved) -> None:
        self.how = UNKNOWN
        self.context_bytes: int | None = None
        self._gpu = gpu
        self._neighbours = neighbours
        self._reserved = reserved
        self.pid: int | None = None
        self._others_bytes: int | None = None
        self._outside_bytes = 0
        self._listed_at = 0.0

    def measure(self, used_before_bytes: int | None) -> None:
        """Find this process's row and measure its context, after a warm-up.

        Args:
            used_before_bytes: used on the device before this process had a context; None if it
                had one already, or if that is unknown.
        """
        with suppress(DriverError, torch.OutOfMemoryError):
            self.pid = self._own_row()
            if self.pid is not None:
                self._listed_bytes()
                self.how, self.context_bytes = LISTED, self._outside_bytes
                return
        used_bytes = self._gpu.used_bytes()
        if used_before_bytes is None or used_bytes is None or not self._is_alone():
            return
        appeared_bytes = used_bytes - used_before_bytes - self._reserved()
        if _LEAST_CONTEXT_BYTES <= appeared_bytes <= _MOST_CONTEXT_BYTES:
            self.how, self.context_bytes = BY_DIFFERENCE, appeared_bytes
            self._others_bytes = used_before_bytes

    def warmed_up(self) -> None:
        """Count what another warm-up has loaded as context, where the device is watched as a
        whole.
        """
        if self.how != BY_DIFFERENCE or self.context_bytes is None:
            return
        with suppress(DriverError):
            self.context_bytes = max(self.context_bytes, self._alone_bytes() - self._reserved())

    def held_bytes(self, *, exactly: bool = False) -> int | None:
        """Return what this process holds; None if unknown.

        Args:
            exactly: ask the driver's list, which takes longer, even if nothing seems to have
                changed.

        Raises:
            DriverError: the driver stopped answering, or others came to a device that was watched
                as a whole.
        """
        if self.how == LISTED:
            return self._listed_bytes() if exactly or self._is_stale() else self._expected_bytes()
        if self.how == BY_DIFFERENCE:
            return self._alone_bytes()
        return None

    def _own_row(self) -> int | None:
        """Return the number under which the driver lists this process; None if it does not."""
        torch.cuda.empty_cache()
        before, reserved_before = self._rows(), self._reserved()
        block = torch.empty(_PROBE_BYTES, dtype=torch.uint8, device=self._gpu.device)
        grown_bytes = self._reserved() - reserved_before
        during = self._rows()
        del block
        torch.cuda.empty_cache()
        after = self._rows()

        def is_ours(pid: int) -> bool:
            came = during[pid] - before.get(pid, 0)
            went = during[pid] - after.get(pid, 0)
            return all(abs(change - grown_bytes) <= _ROUNDING_BYTES for change in (came, went))

        found = [pid for pid in during if pid in before and is_ours(pid)]
        if os.getpid() in found:
            return os.getpid()
        return found[0] if len(found) == 1 else None

    def _rows(self) -> dict[int, int]:
        rows: dict[int, int] = {}
        for pid, num_bytes in self._gpu.listed():
            rows[pid] = max(num_bytes or 0, rows.get(pid, 0))
        return rows

    def _listed_bytes(self) -> int:
        assert self.pid is not None
        reserved_bytes = self._reserved()
        held_bytes = self._rows().get(self.pid)
        if not held_bytes:
            raise DriverError("NVML no longer lists this process")
        used_bytes = self._gpu.used_bytes()
        self._others_bytes = None if used_bytes is None else used_bytes - held_bytes
        if reserved_bytes == self._reserved():
            self._outside_bytes = max(0, held_bytes - reserved_bytes)
        self._listed_at = time.monotonic()
        return held_bytes

    def _expected_bytes(self) -> int:
        return self._reserved() + self._outside_bytes

    def _is_stale(self) -> bool:
        """Return whether the driver's list may say something new."""
        age_s = time.monotonic() - self._listed_at
        if age_s < _LIST_AT_MOST_EVERY_S:
            return False
        used_bytes = self._gpu.used_bytes()
        if used_bytes is None or self._others_bytes is None or age_s > _LIST_EVERY_S:
            return True
        unexplained = used_bytes - self._others_bytes - self._expected_bytes()
        return abs(unexplained) > _UNEXPLAINED_BYTES

    def _alone_bytes(self) -> int:
        """Return what the device has in use more than before this process came."""
        used_bytes = self._gpu.used_bytes()
        if used_bytes is None:
            raise DriverError("NVML no longer tells the memory in use")
        assert self._others_bytes is not None and self.context_bytes is not None
        held_bytes = used_bytes - self._others_bytes
        grown_bytes = held_bytes - self._reserved() - self.context_bytes
        if grown_bytes > _MOST_GROWTH_BYTES or not self._is_alone():
            self.how = UNKNOWN
            raise DriverError("others came to the device")
        return held_bytes

    def _is_alone(self) -> bool:
        """Return whether nobody else seems to use the device. A row without bytes may be this
        process under another number. Where processes cannot be listed, others may be there.
        """
        try:
            others = [row for row in self._gpu.listed() if row.pid != os.getpid()]
        except DriverError:
            return False
        holds_any = any(row.num_bytes for row in others)
        return not holds_any and len(others) <= 1 and not self._neighbours.others()
