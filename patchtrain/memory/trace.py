"""`Trace`: the allocations and frees of a run, in order, and the peak that they add up to.

Sizes are exact bytes and are rounded only when they are added up, so that a trace for other sizes
can be made from them. Knows nothing of tensors, models or budgets.

Shapes: E events, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

ALLOCATE, FREE, MOVE_OUT, MOVE_IN = range(4)
"""Kinds of events: a block comes, goes, leaves a category, joins another."""

_LIVE_SIGN = np.array([1, -1, 0, 0])
_CATEGORY_SIGN = np.array([1, -1, -1, 1])


class TraceRecorder:
    """Records events as they happen."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._phases: dict[str, int] = {}

    def add(self, kind: int, block: int, num_bytes: int, category: int, phase: str) -> None:
        """Record that `block`, of `num_bytes`, now belongs to `category` or no longer does."""
        number = self._phases.setdefault(phase, len(self._phases))
        self._rows.append((kind, block, num_bytes, category, number))

    def trace(self) -> Trace:
        """Return what happened so far.

        Frees that follow each other are sorted: autocast frees its weights in an order that
        differs from run to run, and no peak depends on it.
        """
        columns = np.array(self._rows, dtype=np.int64).reshape(-1, 5).T
        is_free = columns[0] == FREE
        follows = np.zeros_like(is_free)
        follows[1:] = is_free[1:] & is_free[:-1]
        columns = columns[:, np.lexsort((columns[1], np.cumsum(~follows)))]
        kind, block, num_bytes, category, phase = columns
        return Trace(
            kind=kind.astype(np.int8),
            block=block.astype(np.int32),
            num_bytes=num_bytes.copy(),
            category=category.astype(np.int8),
            phase=phase.astype(np.int8),
            phases=tuple(self._phases),
        )


@dataclass(frozen=True)
class TracePeak:
    """The highest sum of live blocks."""

    num_bytes: int
    phase: str
    by_category: tuple[int, ...]
    """[C], in the order of the recorder's category numbers."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Events, each column [E]."""

    kind: np.ndarray
    """int8: `ALLOCATE`, `FREE`, `MOVE_OUT` or `MOVE_IN`."""
    block: np.ndarray
    """int32: number of the block."""
    num_bytes: np.ndarray
    """int64: exact size of the block."""
    category: np.ndarray
    """int8: number of the category that the block belongs to, or leaves."""
    phase: np.ndarray
    """int8: index into `phases`."""
    phases: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kind)

    def check(self, num_categories: int) -> None:
        """Refuse columns that do not belong together, as in a damaged file.

        Raises:
            ValueError: names the column.
        """
        limits = {"kind": 4, "category": num_categories, "phase": len(self.phases), "block": None}
        for name, limit in limits.items():
            column = getattr(self, name)
            in_range = (column >= 0).all() and (limit is None or (column < limit).all())
            if column.shape != self.num_bytes.shape or not in_range:
                raise ValueError(f"column {name} of the trace is damaged")

    def same_events(self, other: Trace) -> bool:
        """Whether both have the same events, sizes aside."""
        return self.phases == other.phases and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("kind", "block", "category", "phase")
        )

    def with_sizes(self, num_bytes: np.ndarray) -> Trace:
        """Return the same events with sizes `num_bytes` [E]."""
        return replace(self, num_bytes=num_bytes)

    def peak(self, block_bytes: int, num_categories: int) -> TracePeak:
        """Return the peak, blocks rounded up to multiples of `block_bytes`."""
        rounded = -(-self.num_bytes // block_bytes) * block_bytes
        live = np.cumsum(rounded * _LIVE_SIGN[self.kind])
        top = int(live.argmax())
        until = slice(0, top + 1)
        signed = rounded[until] * _CATEGORY_SIGN[self.kind[until]]
        by_category = np.bincount(self.category[until], signed, minlength=num_categories)
        return TracePeak(
            int(live[top]),
            self.phases[self.phase[top]],
            tuple(int(value) for value in by_category),
        )

    def requests(self) -> tuple[list[int], list[int]]:
        """Return the block numbers and bytes that an allocator is asked for; frees are negative."""
        wanted = (self.kind <= FREE) & (self.num_bytes > 0)
        sign = _LIVE_SIGN[self.kind[wanted]]
        return self.block[wanted].tolist(), (self.num_bytes[wanted] * sign).tolist()
