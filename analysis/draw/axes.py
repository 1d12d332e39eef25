"""Where axes begin and end, where they are labelled, and in which row labels stand."""

from __future__ import annotations

import math
from collections.abc import Sequence

LOG_AXIS_RATIO = 30
"""Peaks whose largest is more than this many times their smallest are drawn on a log axis."""


def axis_range(peaks: Sequence[int]) -> tuple[float, float, bool]:
    """Return both ends in bytes with some air, and whether the axis is logarithmic."""
    if not peaks:
        return 0.0, 1e9, False
    low, high = min(peaks), max(peaks)
    if high > LOG_AXIS_RATIO * low:
        return low / 1.3, high * 1.3, True
    air = 0.06 * (high - low) or 0.1 * high
    return max(0.0, low - air), high + air, False


def metric_range(metrics: Sequence[float]) -> tuple[float, float] | None:
    """Return both ends with some air, also around a single value; None without values."""
    if not metrics:
        return None
    low, high = min(metrics), max(metrics)
    air = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def range_of_equals(values: Sequence[float]) -> tuple[float, float] | None:
    """Return a range around values that are all equal, which plots widen too far; else None."""
    return metric_range(values) if values and min(values) == max(values) else None


def label_levels(
    budgets: Sequence[int], low: float, high: float, log_axis: bool, apart: float = 0.12
) -> tuple[int, ...]:
    """Return a row for each label that keeps labels in a row `apart` of the axis or further."""

    def position(peak: float) -> float:
        if log_axis:
            return math.log(peak / low) / math.log(high / low)
        return (peak - low) / (high - low)

    last_in_row: list[float] = []
    levels = []
    for budget in budgets:
        x = position(budget)
        level = next(
            (row for row, last in enumerate(last_in_row) if x - last >= apart),
            len(last_in_row),
        )
        last_in_row[level:] = [x, *last_in_row[level + 1 :]]
        levels.append(level)
    return tuple(levels)


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return where a log axis is labelled: 1, 2, 5, 10, ... or, over many decades, 1, 10, ..."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 5 else (1,)
    ticks = (float(f"{step}e{decade}") for decade in decades for step in steps)
    return tuple(tick for tick in ticks if low <= tick <= high)
