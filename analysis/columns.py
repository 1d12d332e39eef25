"""Columns of the trials as arrays, unknown as NaN, and masks over them.

Knows nothing of runs, choices or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.pareto import Floats, Mask
from patchtrain.record import TrialStatus

GB = 10**9

LARGEST = 1e15
"""No plot can lay out what is further from 0, and no forest can learn from it; such a metric stays
in the tables."""


def metrics_of(trials: pd.DataFrame) -> Floats:
    """Return the metric of every trial, NaN where unknown."""
    return trials["metric"].to_numpy(dtype=np.float64, na_value=np.nan)


def peaks_of(trials: pd.DataFrame) -> Floats:
    """Return `peak_allocated_bytes` of every trial, NaN where unknown."""
    return trials["peak_allocated_bytes"].to_numpy(dtype=np.float64, na_value=np.nan)


def is_drawable(values: float | Floats) -> Any:
    """Return whether plots and forests can work with a value; NaN is none."""
    return np.abs(values) <= LARGEST  # NaN compares false


def is_completed(trials: pd.DataFrame) -> Mask:
    """Return which trials trained to their end."""
    return (trials["status"] == TrialStatus.COMPLETED.value).to_numpy(dtype=bool)


def is_replicate(trials: pd.DataFrame) -> Mask:
    """Return which trials repeat another one of their `group` with another seed."""
    group = trials["group"]
    return (group.notna() & (group != trials["trial_id"])).to_numpy(dtype=bool)


def is_over_budget(trials: pd.DataFrame) -> Mask:
    """Return which trials held more than the budget they ran under."""
    budgets = trials["budget_bytes"].to_numpy(dtype=np.float64, na_value=np.nan)
    return peaks_of(trials) > budgets  # NaN compares false
