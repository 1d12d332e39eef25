"""Whole numbers divided and rounded up, as kernels lay out work and memory."""

from __future__ import annotations


def divide_up(number: int, by: int) -> int:
    """Return how many groups of `by` hold `number`."""
    return -(-number // by)


def round_up(number: int, to: int) -> int:
    """Return the lowest multiple of `to` that is not below `number`."""
    return divide_up(number, to) * to
