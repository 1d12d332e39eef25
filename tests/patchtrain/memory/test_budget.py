from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from patchtrain.errors import ConfigError
from patchtrain.memory.budget import MemoryGuard, Peak
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.guards import guard_for
from patchtrain.units import format_bytes, parse_budget


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("4GiB", 4 * 2**30),
        ("512MiB", 512 * 2**20),
        ("1.5GB", 1_500_000_000),
        (".5KB", 500),
        (12345, 12345),
        ("12345", 12345),
        ("1TB", 10**12),
    ],
)
def test_sizes_as_people_write_them(text, num_bytes):
    assert parse_budget(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["8XB", "GB", "", "-4GB", "0GB", 0, -1, True, None, [1], "4GB4", "nanGB"]
)
def test_what_is_no_size_is_refused_by_field_value_and_remedy(text):
    with pytest.raises(ConfigError, match=r"^--budgets=.* is not a memory size; write .*8GB"):
        parse_budget(text, "--budgets")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (None, "unknown"),
        (float("nan"), "unknown"),
        (0, "0B"),
        (83_200_000, "83.2MB"),
        (4 * 10**9, "4GB"),
    ],
)
def test_sizes_are_shown_in_decimal_units(num_bytes, text):
    assert format_bytes(num_bytes) == text


def test_the_guard_on_the_cpu_meters_and_caps():
    guard = guard_for(torch.device("cpu"), 1024)
    assert guard.cap_level == "meter"
    with guard, guard.doing("fill"):
        kept = torch.empty(256)
        with pytest.raises(BudgetExceeded, match=r"in fill.*over the budget of 1024 bytes by 512"):
            torch.empty(1)
    assert guard.peak().allocated_bytes == 1536
    assert guard.peak().reserved_bytes is None
    assert guard.peak().process_bytes is None
    del kept


def test_a_guard_without_budget_only_observes():
    guard = MemoryGuard(torch.device("cpu"), None)
    assert guard.cap_level == "none"
    with guard:
        kept = torch.empty(10**6)
    assert guard.peak().allocated_bytes == guard.live_bytes == 4_000_256
    del kept


def test_a_new_peak_starts_from_what_is_held():
    guard = MemoryGuard(torch.device("cpu"), None)
    with guard:
        kept = torch.empty(128)
        torch.empty(10_000)
        guard.start_peak()
        assert guard.peak().allocated_bytes == 512
    del kept


def peak(allocated: int, reserved: int | None) -> Peak:
    return Peak(
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        process_bytes=None,
        phase=str(allocated),
        by_category={},
    )


def test_merged_peaks_keep_the_higher_of_each_kind():
    merged = peak(5, 6).merged(peak(4, 9))
    assert (merged.allocated_bytes, merged.reserved_bytes, merged.phase) == (5, 9, "5")
    assert merged.process_bytes is None
    assert peak(5, 6).merged(None) == peak(5, 6)


def test_what_the_peak_was_for_stays_with_a_later_peak_that_does_not_know():
    known = replace(peak(5, 6), by_category={"latent": 5})
    for later in (peak(5, 6), peak(7, 6)):
        merged = later.merged(known)
        assert merged.by_category == {"latent": 5}
        assert merged.allocated_bytes == later.allocated_bytes
        assert merged.phase == "5"
