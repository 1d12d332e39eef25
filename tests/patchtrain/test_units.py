from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchtrain.units import format_bytes, parse_bytes


@given(st.integers(1, 10**15))
def test_plain_bytes_are_taken_as_they_are(num_bytes):
    assert parse_bytes(num_bytes) == parse_bytes(str(num_bytes)) == num_bytes


@given(st.integers(1, 9999), st.sampled_from(["B", "KB", "MB", "GB", "TB"]))
def test_what_is_shown_in_four_digits_is_read_back(count, unit):
    text = f"{count}{unit}"
    assert parse_bytes(format_bytes(parse_bytes(text))) == parse_bytes(text)


def test_binary_units_are_not_decimal_ones():
    assert parse_bytes("1GiB") - parse_bytes("1GB") == 73_741_824


def test_what_is_less_than_a_byte_is_refused():
    with pytest.raises(ValueError, match="positive size"):
        parse_bytes("0.4B")
