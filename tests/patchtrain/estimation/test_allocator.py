from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.estimation.allocator import AllocatorPeak, simulate

MIB = 2**20
FREE = -1


def peak_mib(
    events: list[tuple[str, float]], *, expandable: bool, limit_mib: float | None = None
) -> tuple[float, float, bool]:
    """Return the allocated and reserved MiB of events (name, MiB), and whether they fit."""
    names = [ord(name) for name, _ in events]
    sizes = [FREE if size == FREE else int(size * MIB) for _, size in events]
    limit_bytes = None if limit_mib is None else int(limit_mib * MIB)
    peak = simulate(names, sizes, expandable_segments=expandable, limit_bytes=limit_bytes)
    return peak.allocated_bytes / MIB, peak.reserved_bytes / MIB, peak.fits


@pytest.mark.parametrize(
    ("request_bytes", "native_mib", "expandable_mib"),
    [
        (1, 2, 2),
        (MIB, 2, 2),
        (MIB + 1, 20, 20),  # rounded to 512 bytes it is over 1 MiB: the large pool
        (10 * MIB - 512, 20, 20),
        (10 * MIB - 511, 10, 20),  # rounded to 512 bytes it is 10 MiB
        (12 * MIB + 1, 14, 20),
        (20 * MIB + 1, 22, 40),
    ],
)
def test_what_one_request_reserves(request_bytes, native_mib, expandable_mib):
    native = simulate([0], [request_bytes], expandable_segments=False)
    expandable = simulate([0], [request_bytes])
    assert native.reserved_bytes == native_mib * MIB
    assert expandable.reserved_bytes == expandable_mib * MIB
    assert expandable.allocated_bytes == -(-request_bytes // 512) * 512


@pytest.mark.parametrize("expandable", [True, False])
def test_small_requests_share_segments_of_2_mib(expandable):
    four = [(name, 0.5) for name in "abcd"]
    assert peak_mib(four, expandable=expandable) == (2, 2, True)
    assert peak_mib([*four, ("e", 0.5)], expandable=expandable) == (2.5, 4, True)


@pytest.mark.parametrize("expandable", [True, False])
def test_small_and_large_requests_share_nothing(expandable):
    events = [("a", 4), ("b", 1 / 2048)]  # 16 of 20 MiB are free
    assert peak_mib(events, expandable=expandable)[1] == 20 + 2


@pytest.mark.parametrize("expandable", [True, False])
def test_the_rest_of_a_split_block_serves_the_next_request(expandable):
    events = [("a", 8), ("b", 7), ("c", 5)]
    assert peak_mib(events, expandable=expandable) == (20, 20, True)


def test_native_mode_hands_a_large_block_out_whole_if_at_most_1_mib_is_left():
    half_kib = 1 / 2048
    assert peak_mib([("a", 13)], expandable=False) == (14, 14, True)
    assert peak_mib([("a", 13 - half_kib)], expandable=False) == (13 - half_kib, 14, True)
    assert peak_mib([("a", 13)], expandable=True) == (13, 20, True)


def test_native_mode_splits_a_small_block_to_the_last_512_bytes():
    half_kib = 1 / 2048
    events = [("a", 1), ("b", 1 - half_kib), ("c", half_kib)]
    assert peak_mib(events, expandable=False) == (2, 2, True)


def test_the_smallest_sufficient_block_is_used():
    # 6 and 4 MiB free: 4 must leave 6 to the next
    layout = [("a", 6), ("b", 2), ("c", 4), ("d", 8), ("a", FREE), ("c", FREE)]
    assert peak_mib([*layout, ("e", 4), ("f", 6)], expandable=True) == (20, 20, True)


def test_of_equal_blocks_the_lowest_is_used():
    # a [0, 4) and c [6, 10) are free; e must take a, so that c and d [10, 16) make 10 MiB
    layout = [("a", 4), ("b", 2), ("c", 4), ("d", 6), ("z", 4), ("a", FREE), ("c", FREE)]
    events = [*layout, ("e", 4), ("d", FREE), ("f", 10)]
    assert peak_mib(events, expandable=True)[1] == 20


@pytest.mark.parametrize("order", ["abc", "cba", "acb", "bac"])
@pytest.mark.parametrize("expandable", [True, False])
def test_freed_neighbours_merge(order, expandable):
    three = [("a", 5), ("b", 6), ("c", 9)]
    events = [*three, *((name, FREE) for name in order), ("d", 20)]
    assert peak_mib(events, expandable=expandable) == (20, 20, True)


def test_segments_of_native_mode_do_not_merge():
    events = [("a", 10), ("b", 10), ("a", FREE), ("b", FREE), ("c", 20)]
    assert peak_mib(events, expandable=False)[1] == 10 + 10 + 20
    assert peak_mib(events, expandable=True)[1] == 20


def test_growing_requests_reserve_less_with_expandable_segments():
    events = [(name, size) for size in (20, 22, 24) for name, size in (("a", size), ("a", FREE))]
    assert peak_mib(events, expandable=False) == (24, 20 + 22 + 24, True)
    assert peak_mib(events, expandable=True) == (24, 40, True)


def test_only_the_missing_part_of_a_request_is_mapped():
    # 5 of 20 MiB are free, so 25 needs one page more, not two
    assert peak_mib([("a", 15), ("b", 25)], expandable=True) == (40, 40, True)


def test_the_block_that_can_grow_is_left_alone():
    # free: a [0, 10) and the end [12, 20). c fits the end best, but that could grow; it takes a,
    # and d needs another page
    layout = [("a", 10), ("b", 2), ("a", FREE)]
    assert peak_mib([*layout, ("c", 8), ("d", 10)], expandable=True)[1] == 40
    assert peak_mib([*layout, ("c", 8), ("d", 8)], expandable=True)[1] == 20


@pytest.mark.parametrize("expandable", [True, False])
def test_a_limit_of_what_is_asked_for_fits_and_one_byte_less_does_not(expandable):
    for request_bytes, asked_bytes in ((1, 2 * MIB), (2 * MIB, 20 * MIB), (11 * MIB, 12 * MIB)):
        exact = simulate(
            [0], [request_bytes], expandable_segments=expandable, limit_bytes=asked_bytes
        )
        assert exact.fits
        below = simulate(
            [0], [request_bytes], expandable_segments=expandable, limit_bytes=asked_bytes - 1
        )
        assert below == AllocatorPeak(allocated_bytes=0, reserved_bytes=0, fits=False)


def test_free_segments_are_given_back_at_the_limit():
    events = [("a", 12), ("a", FREE), ("b", 14)]
    assert peak_mib(events, expandable=False) == (14, 12 + 14, True)
    assert peak_mib(events, expandable=False, limit_mib=24) == (14, 14, True)


def test_segments_in_use_are_not_given_back():
    events = [("a", 12), ("b", 8), ("a", FREE), ("c", 14)]  # 12 of b's 20 MiB are free, too few
    assert peak_mib(events, expandable=False, limit_mib=33) == (12 + 8, 12 + 20, False)
    assert peak_mib(events, expandable=False, limit_mib=34) == (8 + 14, 20 + 14, True)


def test_free_small_segments_make_room_for_large_ones():
    events = [("a", 1), ("a", FREE), ("b", 20)]
    assert peak_mib(events, expandable=False, limit_mib=20) == (20, 20, True)
    assert peak_mib(events, expandable=True, limit_mib=20) == (20, 20, True)


def test_free_pages_are_given_back_at_the_limit():
    # a 40, b 4 of a third page; all of a's pages go, then 20 + 2 are held
    events = [("a", 40), ("b", 4), ("a", FREE), ("s", 1)]
    assert peak_mib(events, expandable=True, limit_mib=61) == (44, 60, True)
    # of the pages that b is in, none goes: 40 + 2
    events = [("a", 10), ("b", 20), ("a", FREE), ("s", 1)]
    assert peak_mib(events, expandable=True, limit_mib=41) == (30, 40, False)
    assert peak_mib(events, expandable=True, limit_mib=42) == (30, 42, True)


def test_pages_given_back_are_mapped_again_from_the_lowest():
    pages = [("a", 20), ("b", 20), ("c", 20), ("a", FREE)]
    # s has a's page given back: 40 + 2; d maps it again: 60 + 2; its rest and b make 25
    events = [*pages, ("s", 1), ("d", 15), ("b", FREE), ("e", 25)]
    assert peak_mib(events, expandable=True, limit_mib=61) == (61, 62, True)


def test_what_is_mapped_again_merges_with_the_free_blocks_around_it():
    # b is [20, 45); s has its whole page given back, but not its last 5. d maps that page again,
    # and the 5 that d leaves of it make 10 with those
    pages = [("a", 20), ("b", 25), ("c", 15), ("z", 20), ("b", FREE), ("s", 1)]
    events = [*pages, ("d", 15), ("e", 10)]
    assert peak_mib(events, expandable=True, limit_mib=81) == (81, 82, True)
    # b is [15, 40) and keeps its first 5; d starts there, so 8 are left of the page
    pages = [("a", 15), ("b", 25), ("c", 40), ("b", FREE), ("s", 1)]
    events = [*pages, ("d", 17), ("e", 8)]
    assert peak_mib(events, expandable=True, limit_mib=81) == (81, 82, True)


def test_expandable_segments_pass_the_limit_by_part_of_a_page():
    assert peak_mib([("a", 12)], expandable=True, limit_mib=12) == (12, 20, True)


def test_a_trace_can_fail_at_a_limit_of_what_it_reserves():
    # 10 of 40 MiB are free and 14 are missing, but the allocator compares 40 + 24
    events = [("a", 30), ("b", 24)]
    assert peak_mib(events, expandable=True) == (54, 60, True)
    assert peak_mib(events, expandable=True, limit_mib=60) == (30, 40, False)
    assert peak_mib(events, expandable=True, limit_mib=64) == (54, 60, True)


def test_a_trace_can_fail_at_a_limit_and_fit_at_a_lower_one():
    events = [("a", 3), ("a", FREE), ("b", 30), ("c", 16), ("c", FREE), ("s", 1), ("d", 2)]
    # b has a's 20 given back; c's 16 are cached and serve d
    assert peak_mib(events, expandable=False, limit_mib=48) == (46, 30 + 16 + 2, True)
    # c is cut from a's 20; s has them given back; d would be given 20: 30 + 2 + 20
    assert peak_mib(events, expandable=False, limit_mib=51) == (46, 20 + 30, False)


def test_native_mode_can_reserve_more_when_a_trace_is_repeated():
    trace = [("a", 2), ("b", 4), ("c", 13), ("d", 13)]
    freed = [(name, FREE) for name, _ in trace]
    assert peak_mib(trace, expandable=False)[1] == 20 + 14
    # a and b now take 6 of the 14, c is cut from the 20, d needs 14 more
    assert peak_mib(trace + freed + trace, expandable=False)[1] == 20 + 14 + 14


def test_a_trace_ends_at_the_request_that_does_not_fit():
    events = [("a", 12), ("b", 14), ("a", FREE), ("c", 1)]
    assert peak_mib(events, expandable=False, limit_mib=25) == (12, 12, False)


def test_an_allocation_of_nothing_takes_nothing():
    peak = simulate([0, 1, 0, 0], [0, 1, FREE, 0])
    assert peak == AllocatorPeak(allocated_bytes=512, reserved_bytes=2 * MIB, fits=True)
    empty = AllocatorPeak(allocated_bytes=0, reserved_bytes=0, fits=True)
    assert simulate([], []) == simulate([0], [0], limit_bytes=1) == empty


def test_arrays_are_taken_like_lists():
    names, sizes = seeded_trace(0)
    assert simulate(np.array(names), np.array(sizes)) == simulate(names, sizes)


@pytest.mark.parametrize(
    ("names", "sizes", "message"),
    [
        ([4, 5], [1, FREE], r"block_ids\[1\]=5 is freed but not held"),
        ([4, 4, 4], [1, FREE, FREE], r"block_ids\[2\]=4 is freed but not held"),
        ([4, 4], [1, 1], r"block_ids\[1\]=4 is allocated but held"),
        ([4, 4], [0, 1], r"block_ids\[1\]=4 is allocated but held"),
        ([4], [1, 1], r"len\(num_bytes\)=2 differs from len\(block_ids\)=1"),
    ],
)
def test_a_trace_that_cannot_be_is_refused(names, sizes, message):
    with pytest.raises(ValueError, match=message):
        simulate(names, sizes)


def seeded_trace(seed: int, num_events: int = 3000) -> tuple[list[int], list[int]]:
    """Return a trace that depends on its seed alone; by turns it mostly allocates or frees."""
    draw = random.Random(seed).random  # the one method that Python promises never to change
    names, sizes, live = [], [], []
    for index in range(num_events):
        allocates = 0.65 if index // 100 % 2 == 0 else 0.4
        if live and draw() > allocates:
            names.append(live.pop(int(draw() * len(live))))
            sizes.append(FREE)
        else:
            live.append(index)
            names.append(index)
            scale = 256 << int(17 * draw())
            sizes.append(int(scale * (1 + draw())))  # 256 bytes to 32 MiB
    return names, sizes


@pytest.mark.parametrize(
    ("seed", "expandable", "limit_mib", "allocated_bytes", "reserved_bytes", "fits"),
    [
        (0, True, None, 572_874_752, 656_408_576, True),
        (0, True, 622, 572_874_752, 652_214_272, True),
        (0, True, 582, 518_761_984, 585_105_408, False),
        (0, False, None, 580_438_016, 692_060_160, True),
        (0, False, 620, 580_438_016, 650_117_120, True),
        (0, False, 594, 543_718_400, 620_756_992, False),
        (1, True, None, 812_270_592, 903_872_512, True),
        (1, False, None, 825_003_008, 939_524_096, True),
        (26, True, 440, 347_250_176, 469_762_048, True),
        (26, False, 440, 352_830_464, 461_373_440, True),
        (116, True, None, 471_070_720, 568_328_192, True),
        (116, True, 520, 471_070_720, 545_259_520, True),
        (30, False, 636, 604_988_928, 664_797_184, True),
    ],
)
def test_peaks_are_those_of_torch(
    seed, expandable, limit_mib, allocated_bytes, reserved_bytes, fits
):
    """The expected peaks were read from torch itself: its `libc10_cuda`, of 2.11.0 and of 2.15.0
    (they agree), over a CUDA runtime that hands out addresses instead of memory.
    """
    names, sizes = seeded_trace(seed)
    limit_bytes = None if limit_mib is None else limit_mib * MIB
    peak = simulate(names, sizes, expandable_segments=expandable, limit_bytes=limit_bytes)
    assert peak == AllocatorPeak(
        allocated_bytes=allocated_bytes, reserved_bytes=reserved_bytes, fits=fits
    )


REQUEST_BYTES = st.one_of(
    st.integers(1, 2 * MIB),
    st.integers(1, 40 * MIB),
    st.sampled_from([512, MIB, MIB + 1, 10 * MIB, 20 * MIB]),
)


@st.composite
def traces(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    names, sizes, live = [], [], []
    for index in range(draw(st.integers(0, 40))):
        if live and draw(st.booleans()):
            names.append(live.pop(draw(st.integers(0, len(live) - 1))))
            sizes.append(FREE)
        else:
            live.append(index)
            names.append(index)
            sizes.append(draw(REQUEST_BYTES))
    return names, sizes


def most_live_bytes(names: list[int], sizes: list[int]) -> int:
    live: dict[int, int] = {}
    most = 0
    for name, size in zip(names, sizes, strict=True):
        if size == FREE:
            del live[name]
        else:
            live[name] = -(-size // 512) * 512
        most = max(most, sum(live.values()))
    return most


@given(traces())
def test_allocated_is_the_sum_of_blocks_and_within_what_is_reserved(trace):
    expandable = simulate(*trace)
    native = simulate(*trace, expandable_segments=False)
    assert expandable.allocated_bytes == most_live_bytes(*trace) <= expandable.reserved_bytes
    assert most_live_bytes(*trace) <= native.allocated_bytes <= native.reserved_bytes


@given(traces())
def test_a_trace_with_all_freed_and_repeated_reserves_no_more_in_expandable_segments(trace):
    names, sizes = trace
    live = [name for name in dict.fromkeys(names) if names.count(name) == 1]
    whole = names + live, sizes + [FREE] * len(live)
    twice = whole[0] * 2, whole[1] * 2
    assert simulate(*twice) == simulate(*trace)


@given(traces(), st.booleans(), st.integers(1, 200))
def test_the_limit_is_kept_to_a_page(trace, expandable, limit_mib):
    page = 20 * MIB if expandable else 1
    peak = simulate(*trace, expandable_segments=expandable, limit_bytes=limit_mib * MIB)
    assert peak.reserved_bytes < limit_mib * MIB + page
    if peak.fits and expandable:
        assert peak.allocated_bytes == most_live_bytes(*trace)


@given(traces(), st.booleans())
def test_a_limit_above_all_that_is_asked_for_changes_nothing(trace, expandable):
    unlimited = simulate(*trace, expandable_segments=expandable)
    largest = max(trace[1], default=0)
    # a request asks for at most itself, to the next 2 MiB, or 20 MiB
    ample = unlimited.reserved_bytes + max(largest + 2 * MIB, 20 * MIB)
    assert simulate(*trace, expandable_segments=expandable, limit_bytes=ample) == unlimited
