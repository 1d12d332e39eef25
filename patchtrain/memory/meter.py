"""`MemoryMeter`: counts the bytes of live tensor storages, by what they are for.

A dispatch mode: it sees the result of every torch operation, forward and backward, on real and on
fake tensors alike. It counts what an allocator would hand out for tensors (storages rounded up to
512 bytes, as CUDA's caching allocator does); it does not see workspace inside an operation. Counts
depend on the operations alone, so they are the same in every run and on every machine.

Knows nothing of models, budgets in people's units or training.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.trace import ALLOCATE, FREE, MOVE_IN, MOVE_OUT, TraceRecorder
from patchtrain.units import format_bytes

BLOCK_BYTES = 512
"""Granularity of CUDA's caching allocator."""

PARAMETERS = "parameters"
GRADIENTS = "gradients"
OPTIMIZER = "optimizer"
ACTIVATIONS = "activations"
LATENT = "latent"
INPUT = "input"
CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER, ACTIVATIONS, LATENT, INPUT)
"""What memory is for. Parameters include buffers; activations include temporaries."""

MAX_TIMELINE_POINTS = 200_000

_HOST = "host"
"""Category of storages that live on the host and are not counted."""


def rounded(num_bytes: int) -> int:
    """Return `num_bytes` rounded up to whole blocks."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


@dataclass(frozen=True)
class TimelinePoint:
    """Live bytes per category, in the order of `CATEGORIES`, after one operation."""

    phase: str
    live_bytes: tuple[int, ...]


@dataclass
class _Block:
    """One live storage: its finalizer, its size and what it is for."""

    reference: weakref.ref[torch.UntypedStorage]
    number: int
    exact_bytes: int
    num_bytes: int
    """Rounded up to whole blocks."""
    category: str


class MemoryMeter(TorchDispatchMode):
    """Counts live storages while active (`with meter:`) and follows those it saw until they are
    freed.

    Args:
        device_type: storages of other device types are ignored.
        limit_bytes: live bytes above this raise `BudgetExceeded`; None never does.
    """

    def __init__(self, device_type: str = "cpu", limit_bytes: int | None = None) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes
        self.phase = "setup"
        self.live_bytes = 0
        self.peak_bytes = 0
        self.peak_phase = self.phase
        self.peak_by_category = dict.fromkeys(CATEGORIES, 0)
        self.timeline: list[TimelinePoint] = []
        self.trace: TraceRecorder | None = None
        """Records every allocation and free, if set."""
        self._recording = False
        self._device_type = device_type
        self._live = dict.fromkeys(CATEGORIES, 0)
        self._blocks: dict[int, _Block] = {}
        self._num_seen = 0
        self._category = ACTIVATIONS

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to wrap `__torch_dispatch__`: its guard against compilation, of no use
        here, costs more on every operation than the meter itself.
        """
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._see_all(result)
        return result

    @contextmanager
    def doing(self, phase: str) -> Iterator[None]:
        """Context: peaks reached inside belong to `phase`."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    @contextmanager
    def allocating(self, category: str) -> Iterator[None]:
        """Context: storages first seen inside belong to `category`."""
        before, self._category = self._category, category
        try:
            yield
        finally:
            self._category = before

    @contextmanager
    def recording(self, wanted: bool) -> Iterator[None]:
        """Context: while `wanted`, each change adds a point to `timeline`."""
        before, self._recording = self._recording, wanted
        try:
            yield
        finally:
            self._recording = before

    def on_host(self) -> AbstractContextManager[None]:
        """Context: storages first seen inside belong to the host and are not counted."""
        return self.allocating(_HOST)

    def adopt(self, tensors: Iterable[torch.Tensor], category: str) -> None:
        """Count `tensors` as `category` from now on, whether seen before or not."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            block = self._blocks.get(id(storage))
            if block is None:
                with self.allocating(category):
                    self._see(tensor)
            elif block.category != category:
                came = ALLOCATE if block.category is _HOST else MOVE_IN
                self._note(MOVE_OUT, block)
                self._count(block.category, -block.num_bytes)
                block.category = category
                self._count(category, block.num_bytes)
                self._note(came, block)

    def reset_peak(self) -> None:
        """Start a new peak from what is live now."""
        self.peak_bytes = 0
        self._note_peak()

    def _see_all(self, result: Any) -> None:
        if isinstance(result, torch.Tensor):
            self._see(result)
        elif isinstance(result, (tuple, list)):
            for item in result:
                if isinstance(item, torch.Tensor):
                    self._see(item)

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        block = self._blocks.get(key)
        if block is None:
            if tensor.device.type == self._device_type:
                reference = weakref.ref(storage, lambda _: self._free(key))
                self._add(key, reference, storage.nbytes(), self._category)
        elif block.exact_bytes != storage.nbytes():  # resized in place
            self._free(key)
            self._add(key, block.reference, storage.nbytes(), block.category)

    def _add(
        self,
        key: int,
        reference: weakref.ref[torch.UntypedStorage],
        exact_bytes: int,
        category: str,
    ) -> None:
        block = _Block(reference, self._num_seen, exact_bytes, rounded(exact_bytes), category)
        self._num_seen += 1
        self._blocks[key] = block
        self._note(ALLOCATE, block)
        self._count(category, block.num_bytes)

    def _free(self, key: int) -> None:
        block = self._blocks.pop(key)
        self._note(FREE, block)
        self._count(block.category, -block.num_bytes)

    def _note(self, kind: int, block: _Block) -> None:
        if self.trace is not None and block.category is not _HOST:
            category = CATEGORIES.index(block.category)
            self.trace.add(kind, block.number, block.exact_bytes, category, self.phase)

    def _count(self, category: str, num_bytes: int) -> None:
        if category is _HOST:
            return
        self._live[category] += num_bytes
        self.live_bytes += num_bytes
        if self._recording and len(self.timeline) < MAX_TIMELINE_POINTS:
            self.timeline.append(TimelinePoint(self.phase, tuple(self._live.values())))
        if self.live_bytes > self.peak_bytes:
            self._note_peak()
        if self.limit_bytes is not None and self.live_bytes > self.limit_bytes and num_bytes > 0:
            self._raise_exceeded(num_bytes)

    def _note_peak(self) -> None:
        self.peak_bytes = self.live_bytes
        self.peak_phase = self.phase
        self.peak_by_category = dict(self._live)

    def _raise_exceeded(self, num_bytes: int) -> None:
        assert self.limit_bytes is not None
        held = ", ".join(
            f"{name} {format_bytes(value)}" for name, value in self._live.items() if value
        )
        raise BudgetExceeded(
            f"out of memory in {self.phase}: {format_bytes(num_bytes)} more make "
            f"{self.live_bytes} bytes live, over the budget of {self.limit_bytes} bytes by "
            f"{self.live_bytes - self.limit_bytes}; held by {held}",
            budget_bytes=self.limit_bytes,
            needed_bytes=self.live_bytes,
            phase=self.phase,
        )
