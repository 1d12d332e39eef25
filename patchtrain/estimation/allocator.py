"""`simulate`: what CUDA's caching allocator holds while it serves a trace of allocations and frees.

torch does not hand device memory back when a tensor dies: it keeps it in blocks, which it splits
and merges to serve later tensors, so it holds (reserves) more than tensors use (allocated). This
module replays a trace by the same rules: `c10/cuda/CUDACachingAllocator.cpp` of torch 2.11 to 2.15
in its default settings, on one stream, without CUDA graphs.

Two things it cannot know: where the driver places the segments of native mode (here each lies above
the one before, which decides between free blocks of one size), and whether the device itself has
the memory (only `limit_bytes` ends a trace).

Knows nothing of tensors or devices: a trace is numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchtrain.estimation.rounding import round_up
from patchtrain.memory.facts import PAGE_BYTES
from patchtrain.memory.meter import BLOCK_BYTES

# Legend: sizes and addresses are counted in BLOCK_BYTES; `end` is the first address after a block.
_MIB = 2**20 // BLOCK_BYTES
_LARGEST_SMALL = 1 * _MIB
"""The largest request of the small pool."""
_SMALL_SEGMENT = 2 * _MIB
_LARGE_SEGMENT = 20 * _MIB
_SMALLEST_OWN_SEGMENT = 10 * _MIB
"""From here on a request asks for a segment of its own size, in whole steps."""
_OWN_SEGMENT_STEP = 2 * _MIB
_LARGEST_UNSPLIT_REST = 1 * _MIB
"""In native mode a large block is handed out whole if no more than this would be left of it."""

_ADDRESS_BITS = 44
_ADDRESS_MASK = (1 << _ADDRESS_BITS) - 1
_ENDLESS = 1 << _ADDRESS_BITS
"""The end of a growing segment, never reached. In torch it is 9/8 of the device's memory."""


@dataclass(frozen=True, kw_only=True)
class AllocatorPeak:
    """The most memory in use and the most held, up to the end or to the request that failed."""

    allocated_bytes: int
    """Handed out, as `torch.cuda.max_memory_allocated` counts it: the sizes of blocks. A block is
    its request rounded up to 512 bytes; in native mode it can be 1 MiB larger."""
    reserved_bytes: int
    """Held from the device, as `torch.cuda.max_memory_reserved` counts it. With expandable segments
    it can pass the limit by part of a page: torch compares before it rounds up to pages."""
    fits: bool
    """False: a request was over the limit, even after cached memory was given back."""


def simulate(
    block_ids: Sequence[int] | NDArray[np.integer],
    num_bytes: Sequence[int] | NDArray[np.integer],
    *,
    expandable_segments: bool = True,
    page_bytes: int = PAGE_BYTES,
    limit_bytes: int | None = None,
) -> AllocatorPeak:
    """Replay a trace and return its peaks.

    Event i allocates `num_bytes[i]` for block `block_ids[i]`, or frees that block where
    `num_bytes[i]` is negative. An allocation of 0 bytes takes nothing.

    As in torch, `reserved_bytes` alone does not decide whether a trace fits. Before it grows, the
    allocator checks the limit for a whole new segment, even if it would only add to one: a trace
    can fail at a limit equal to what it reserves without one. And it gives cached memory back only
    at the limit: a trace can fail at one limit and fit at a lower one.

    Args:
        block_ids: names of blocks; a freed name can be used again.
        num_bytes: bytes asked for; any negative number frees.
        expandable_segments: torch's setting of that name; False is its native mode.
        page_bytes: step in which a segment for large blocks grows.
        limit_bytes: what `torch.cuda.set_per_process_memory_fraction` allows; None sets no limit.

    Raises:
        ValueError: a block is freed that is not held, or allocated while it is held; or the two
            sequences differ in length.
    """
    names, sizes = _listed(block_ids), _listed(num_bytes)
    if len(names) != len(sizes):
        raise ValueError(
            f"len(num_bytes)={len(sizes)} differs from len(block_ids)={len(names)}; "
            "give both for every event"
        )
    pages = page_bytes // BLOCK_BYTES if expandable_segments else None
    allocator = _Allocator(pages, limit_bytes)
    fits = _replay(allocator, names, sizes)
    return AllocatorPeak(
        allocated_bytes=allocator.most_allocated * BLOCK_BYTES,
        reserved_bytes=allocator.most_reserved * BLOCK_BYTES,
        fits=fits,
    )


def _replay(allocator: _Allocator, names: Sequence[int], sizes: Sequence[int]) -> bool:
    """Serve the events until one is over the limit; return whether all fitted."""
    held: dict[int, _Block | None] = {}
    for index, (name, wanted) in enumerate(zip(names, sizes, strict=True)):
        if wanted < 0:
            if name not in held:
                raise ValueError(f"block_ids[{index}]={name} is freed but not held; allocate it")
            block = held.pop(name)
            if block is not None:
                allocator.free(block)
        elif name in held:
            raise ValueError(f"block_ids[{index}]={name} is allocated but held; free it before")
        elif wanted == 0:
            held[name] = None
        else:
            held[name] = block = allocator.allocate(-(-wanted // BLOCK_BYTES))
            if block is None:
                return False
    return True


def _listed(numbers: Sequence[int] | NDArray[np.integer]) -> Sequence[int]:
    return numbers.tolist() if isinstance(numbers, np.ndarray) else numbers


def _segment_size(size: int) -> int:
    """Return how much a request of `size` asks of the device when no free block serves it."""
    if size <= _LARGEST_SMALL:
        return _SMALL_SEGMENT
    if size < _SMALLEST_OWN_SEGMENT:
        return _LARGE_SEGMENT
    return round_up(size, _OWN_SEGMENT_STEP)


class _Pool(ABC):
    """Free blocks, by size and by address, and how much of the device they and used ones hold."""

    def __init__(self, largest_unsplit_rest: int) -> None:
        self.reserved = 0
        self._largest_unsplit_rest = largest_unsplit_rest
        self._by_size: list[int] = []  # size << _ADDRESS_BITS | start, ascending
        self._end_of: dict[int, int] = {}  # start -> end
        self._start_of: dict[int, int] = {}  # end -> start

    @abstractmethod
    def grow(self, size: int) -> tuple[int, int]:
        """Hold more of the device and return start and end of a block for `size`."""

    @abstractmethod
    def trim(self) -> None:
        """Give back to the device what is free and can be given back."""

    def take(self, size: int) -> tuple[int, int] | None:
        """Return start and end of a block for `size` from the free ones, None if none serves."""
        index = self._best(size)
        if index == len(self._by_size):
            return None
        start = self._by_size.pop(index) & _ADDRESS_MASK
        end = self._end_of.pop(start)
        del self._start_of[end]
        return self._split(start, end, size)

    def free(self, start: int, end: int) -> None:
        """Make a block free, merged with the free blocks that touch it."""
        before = self._start_of.get(start)
        if before is not None:
            self._remove(before, start)
            start = before
        after = self._end_of.get(end)
        if after is not None:
            self._remove(end, after)
            end = after
        self._add(start, end)

    def _best(self, size: int) -> int:
        """Return the index in `_by_size` of the smallest block that serves, the lowest of equal
        ones; the list's length if there is none.
        """
        return bisect_left(self._by_size, size << _ADDRESS_BITS)

    def _split(self, start: int, end: int, size: int) -> tuple[int, int]:
        """Return the front of a block; the rest becomes free if it is large enough."""
        if end - start - size <= self._largest_unsplit_rest:
            return start, end
        self._add(start + size, end)
        return start, start + size

    def _add(self, start: int, end: int) -> None:
        insort(self._by_size, (end - start) << _ADDRESS_BITS | start)
        self._end_of[start] = end
        self._start_of[end] = start

    def _remove(self, start: int, end: int) -> None:
        del self._by_size[bisect_left(self._by_size, (end - start) << _ADDRESS_BITS | start)]
        del self._end_of[start]
        del self._start_of[end]


class _NativePool(_Pool):
    """A pool of segments, each from one request to the device."""

    def __init__(self, largest_unsplit_rest: int) -> None:
        super().__init__(largest_unsplit_rest)
        self._segment_end: dict[int, int] = {}  # start -> end
        self._next_start = 0

    def grow(self, size: int) -> tuple[int, int]:
        start = self._next_start
        end = start + _segment_size(size)
        self._next_start = end + 1  # a gap: blocks of two segments never touch
        self._segment_end[start] = end
        self.reserved += end - start
        return self._split(start, end, size)

    def trim(self) -> None:
        """Give back the segments that are free as a whole."""
        for start, end in list(self._end_of.items()):
            if self._segment_end.get(start) == end:
                self._remove(start, end)
                del self._segment_end[start]
                self.reserved -= end - start


class _ExpandablePool(_Pool):
    """A pool of one endless segment; pages are mapped as needed, the rest are holes."""

    def __init__(self, page: int) -> None:
        super().__init__(largest_unsplit_rest=0)
        self._page = page
        self._hole_end = {0: _ENDLESS}  # start -> end; no two touch

    def grow(self, size: int) -> tuple[int, int]:
        """Map the missing pages of the lowest run of free blocks and holes that has room."""
        start = end = self._lowest(size)
        while end - start < size or end in self._end_of:
            if end in self._end_of:
                free_end = self._end_of[end]
                self._remove(end, free_end)
                end = free_end
            else:
                end = self._map(end, start + size)
        return self._split(start, end, size)

    def trim(self) -> None:
        """Give back the pages that are free as a whole."""
        for key in list(self._by_size):
            start = key & _ADDRESS_MASK
            end = self._end_of[start]
            first, last = round_up(start, self._page), end // self._page * self._page
            if first < last:
                self._remove(start, end)
                if start < first:
                    self._add(start, first)
                if last < end:
                    self._add(last, end)
                self._hole_end[first] = last
                self.reserved -= last - first
        for start in sorted(self._hole_end, reverse=True):
            end = self._hole_end[start]
            self._hole_end[start] = self._hole_end.pop(end, end)

    def _best(self, size: int) -> int:
        """As in any pool, but a block before a hole counts with everything it could grow to: torch
        leaves it alone if the next larger block is smaller than that.
        """
        index = super()._best(size)
        while index + 1 < len(self._by_size) and self._reach(index) > self._reach(index + 1):
            index += 1
        return index

    def _reach(self, index: int) -> int:
        key = self._by_size[index]
        start = key & _ADDRESS_MASK
        end = start + (key >> _ADDRESS_BITS)
        return self._hole_end.get(end, end) - start

    def _lowest(self, size: int) -> int:
        """Return the lowest start of free blocks and holes in a row that have room for `size`."""
        for hole in sorted(self._hole_end):
            start = self._start_of.get(hole, hole)
            end: int | None = start
            while end is not None and end - start < size:
                end = self._end_of.get(end, self._hole_end.get(end))
            if end is not None:
                return start
        raise AssertionError("the last hole is endless")

    def _map(self, start: int, wanted_end: int) -> int:
        """Map the pages of a hole up to `wanted_end` and return where the mapped ones end."""
        hole_end = self._hole_end.pop(start)
        end = min(round_up(wanted_end, self._page), hole_end)
        if end < hole_end:
            self._hole_end[end] = hole_end
        self.reserved += end - start
        return end


_Block = tuple[_Pool, int, int]
"""A used block: its pool, start and end."""


class _Allocator:
    """The two pools, and the limit on what they hold together.

    Args:
        page: step in which the large pool's segment grows; None: it makes new ones.
    """

    def __init__(self, page: int | None, limit_bytes: int | None) -> None:
        self._limit = None if limit_bytes is None else limit_bytes // BLOCK_BYTES
        if page is not None:
            self._small: _Pool = _ExpandablePool(_SMALL_SEGMENT)
            self._large: _Pool = _ExpandablePool(page)
        else:
            self._small = _NativePool(largest_unsplit_rest=0)
            self._large = _NativePool(_LARGEST_UNSPLIT_REST)
        self._allocated = 0
        self.most_allocated = 0
        self.most_reserved = 0

    def allocate(self, size: int) -> _Block | None:
        """Return a block for `size`, None if it is over the limit."""
        pool = self._small if size <= _LARGEST_SMALL else self._large
        span = pool.take(size)
        if span is None:
            if not self._has_room(_segment_size(size)):
                return None
            span = pool.grow(size)
            self.most_reserved = max(self.most_reserved, self._reserved)
        start, end = span
        self._allocated += end - start
        if self._allocated > self.most_allocated:
            self.most_allocated = self._allocated
        return pool, start, end

    def free(self, block: _Block) -> None:
        """Make a block free."""
        pool, start, end = block
        self._allocated -= end - start
        pool.free(start, end)

    @property
    def _reserved(self) -> int:
        return self._small.reserved + self._large.reserved

    def _has_room(self, size: int) -> bool:
        """Return whether `size` more is within the limit, after giving memory back if needed."""
        if self._limit is None or self._reserved + size <= self._limit:
            return True
        self._large.trim()
        self._small.trim()
        return self._reserved + size <= self._limit
