"""Numbers as people read them. Knows nothing of trials, files or figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from patchtrain.units import format_bytes, parse_bytes

UNKNOWN = "\N{EN DASH}"
"""How tables show what is not known or does not apply."""

NOT_TO_FIT = "predicted not to fit"
"""How people read the status `predicted_infeasible`."""


def finite(value: Any) -> Any:
    """Return `value` with None in place of the numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def exact_size(num_bytes: int) -> str:
    """Return `num_bytes` in the unit people read where that is exact, else as plain bytes."""
    text = format_bytes(num_bytes)
    if num_bytes <= 0:
        return f"{num_bytes}B"
    return text if parse_bytes(text) == num_bytes else f"{num_bytes}B"


def format_metric(value: float | None) -> str:
    """Return a metric for people; unknown is a dash."""
    if value is None or not np.isfinite(value):
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def bytes_text(num_bytes: int | None) -> str:
    """Return a size for people; unknown is a dash."""
    return UNKNOWN if num_bytes is None else format_bytes(num_bytes)


def status_text(status: str) -> str:
    """Return how a trial ended, for people."""
    return {"predicted_infeasible": NOT_TO_FIT}.get(status) or status.replace("_", " ")


def unit_of(largest_bytes: float) -> tuple[str, int]:
    """Return the unit in which an axis shows sizes up to `largest_bytes`, and its bytes."""
    return ("GB", 10**9) if largest_bytes >= 10**9 else ("MB", 10**6)
