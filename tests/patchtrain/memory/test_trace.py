from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.memory.trace import (
    ALLOCATE,
    FREE,
    MOVE_IN,
    MOVE_OUT,
    Trace,
    TracePeak,
    TraceRecorder,
)

BLOCK = 512


def recorded(*events: tuple[int, int, int, int, str]) -> Trace:
    """The trace of events (kind, block, bytes, category, phase)."""
    recorder = TraceRecorder()
    for event in events:
        recorder.add(*event)
    return recorder.trace()


HAND_WORKED = (
    (ALLOCATE, 0, 600, 0, "setup"),  # 1024
    (ALLOCATE, 1, 100, 1, "fill"),  # 1536
    (ALLOCATE, 2, 513, 1, "fill"),  # 2560, the peak
    (FREE, 1, 100, 1, "fill"),  # 2048
    (MOVE_OUT, 2, 513, 1, "step"),
    (MOVE_IN, 2, 513, 0, "step"),
    (ALLOCATE, 3, 512, 2, "step"),  # 2560 again
)


def test_the_peak_of_a_hand_worked_trace():
    assert recorded(*HAND_WORKED).peak(BLOCK, 3) == TracePeak(2560, "fill", (1024, 1536, 0))


def test_a_block_that_moves_counts_where_it_went():
    trace = recorded(*HAND_WORKED, (ALLOCATE, 4, 1, 2, "step"))
    assert trace.peak(BLOCK, 3) == TracePeak(3072, "step", (2048, 0, 1024))


def test_sizes_are_exact_until_they_are_added_up():
    trace = recorded(*HAND_WORKED)
    assert trace.num_bytes.tolist() == [600, 100, 513, 100, 513, 513, 512]
    assert trace.peak(1, 3).num_bytes == 600 + 513 + 512
    assert trace.peak(1024, 3).num_bytes == 3 * 1024


def test_of_equal_peaks_the_first_counts():
    trace = recorded((ALLOCATE, 0, 1, 0, "a"), (FREE, 0, 1, 0, "a"), (ALLOCATE, 1, 1, 1, "b"))
    assert trace.peak(BLOCK, 2) == TracePeak(BLOCK, "a", (BLOCK, 0))


def test_categories_without_blocks_are_zero():
    assert recorded((ALLOCATE, 0, 1, 0, "a")).peak(BLOCK, 4).by_category == (BLOCK, 0, 0, 0)


def test_peaks_above_4_gib_do_not_overflow():
    huge = 5 * 2**40
    trace = recorded(*((ALLOCATE, n, huge, 0, "a") for n in range(3)))
    assert trace.peak(BLOCK, 1).num_bytes == 3 * huge


def test_an_allocator_is_asked_for_neither_moves_nor_empty_blocks():
    trace = recorded(*HAND_WORKED, (ALLOCATE, 4, 0, 0, "step"), (FREE, 4, 0, 0, "step"))
    blocks, num_bytes = trace.requests()
    assert blocks == [0, 1, 2, 1, 3]
    assert num_bytes == [600, 100, 513, -100, 512]


def test_other_sizes_are_the_same_events():
    trace = recorded(*HAND_WORKED)
    doubled = trace.with_sizes(2 * trace.num_bytes)
    assert doubled.same_events(trace)
    assert doubled.peak(1, 3).num_bytes == 2 * trace.peak(1, 3).num_bytes
    assert trace.num_bytes[0] == 600


@pytest.mark.parametrize(
    "changed",
    [
        (FREE, 3, 512, 2, "step"),
        (ALLOCATE, 9, 512, 2, "step"),
        (ALLOCATE, 3, 512, 1, "step"),
        (ALLOCATE, 3, 512, 2, "fill"),
        (ALLOCATE, 3, 512, 2, "other"),
    ],
)
def test_another_kind_block_category_or_phase_is_another_event(changed):
    trace = recorded(*HAND_WORKED)
    assert not trace.same_events(recorded(*HAND_WORKED[:-1], changed))
    assert not trace.same_events(recorded(*HAND_WORKED[:-1]))


def test_a_recorder_continues_after_a_trace_was_taken():
    recorder = TraceRecorder()
    recorder.add(ALLOCATE, 0, 1, 0, "a")
    first = recorder.trace()
    recorder.add(FREE, 0, 1, 0, "b")
    assert (len(first), len(recorder.trace())) == (1, 2)
    assert (first.phases, recorder.trace().phases) == (("a",), ("a", "b"))


@st.composite
def events(draw: st.DrawFn) -> list[tuple[int, int, int, int, str]]:
    found: list[tuple[int, int, int, int, str]] = []
    live: dict[int, tuple[int, int]] = {}
    for number in range(draw(st.integers(1, 40))):
        phase = draw(st.sampled_from("abc"))
        wanted = draw(st.integers(0, 2)) if live else 0
        if wanted == 0:
            live[number] = draw(st.integers(0, 3000)), draw(st.integers(0, 2))
            found.append((ALLOCATE, number, *live[number], phase))
            continue
        block = draw(st.sampled_from(sorted(live)))
        size, category = live.pop(block)
        if wanted == 1:
            found.append((FREE, block, size, category, phase))
        else:
            other = draw(st.integers(0, 2))
            live[block] = size, other
            found.append((MOVE_OUT, block, size, category, phase))
            found.append((MOVE_IN, block, size, other, phase))
    return found


def peak_by_hand(events: list[tuple[int, int, int, int, str]]) -> TracePeak:
    live: dict[int, tuple[int, int]] = {}
    best = TracePeak(-1, "", ())
    for kind, block, size, category, phase in events:
        if kind in (FREE, MOVE_OUT):
            del live[block]
        else:
            live[block] = -(-size // BLOCK) * BLOCK, category
        if kind == MOVE_OUT:
            continue
        parts = tuple(sum(s for s, c in live.values() if c == number) for number in range(3))
        if sum(parts) > best.num_bytes:
            best = TracePeak(sum(parts), phase, parts)
    return best


@given(events())
def test_the_peak_is_that_of_adding_up_live_blocks(events):
    peak = recorded(*events).peak(BLOCK, 3)
    assert peak == peak_by_hand(events)
    assert sum(peak.by_category) == peak.num_bytes


@given(events())
def test_requests_hold_at_the_end_what_is_live(events):
    blocks, num_bytes = recorded(*events).requests()
    held = dict.fromkeys(blocks, 0)
    for block, size in zip(blocks, num_bytes, strict=True):
        held[block] += size
        assert held[block] in (0, abs(size))
    trace = recorded(*events)
    signed = np.where(trace.kind == ALLOCATE, 1, np.where(trace.kind == FREE, -1, 0))
    assert sum(held.values()) == int((trace.num_bytes * signed).sum())
