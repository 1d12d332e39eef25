"""Sizes as people read them."""

from __future__ import annotations

import pytest

from analysis.text import exact_size
from patchtrain.units import parse_bytes

GB = 10**9


@pytest.mark.parametrize("num_bytes", [1, 999, 1024, 8 * GB, 2**33, 1234567890, 83_200_000])
def test_exact_size_reads_back_as_the_same_bytes(num_bytes: int) -> None:
    assert parse_bytes(exact_size(num_bytes)) == num_bytes
