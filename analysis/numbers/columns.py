"""Columns of the trials as arrays, unknown as NaN, and masks over them: which trials count.

Functions of a `Run` under `once` share their answer, which must not be changed. Knows nothing
of choices or files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.pareto import Floats, Mask, non_dominated
from analysis.runs.run import Run, once
from patchtrain.record import TrialStatus

GB = 10**9

LARGEST = 1e15
"""No plot can lay out a value further from 0 than this, and no forest can learn from one; such a
metric stays in the tables."""


def floats(frame: pd.DataFrame, name: str) -> Floats:
    """Return a column of `frame`, NaN where unknown."""
    return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)


def metrics_of(frame: pd.DataFrame) -> Floats:
    """Return the metric of every row of trials or epochs, NaN where unknown."""
    return floats(frame, "metric")


@once
def metrics(run: Run) -> Floats:
    """Return the metric of every trial, NaN where unknown."""
    return metrics_of(run.trials)


@once
def peaks(run: Run) -> Floats:
    """Return `peak_allocated_bytes` of every trial, NaN where unknown."""
    return floats(run.trials, "peak_allocated_bytes")


@once
def hours(run: Run) -> Floats:
    """Return how long each trial took, in hours: from start to end, else its training time.

    NaN where neither is known. Trials that share a device count in full.
    """
    seconds = (run.trials["finished_at"] - run.trials["started_at"]).dt.total_seconds()
    spans = seconds.where(seconds > 0).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(spans), floats(run.trials, "train_time_s"), spans) / 3600


def is_drawable(values: float | Floats) -> Any:
    """Return whether plots and forests can work with a value; with NaN they cannot."""
    return np.abs(values) <= LARGEST  # NaN compares false


def has_status(run: Run, *statuses: TrialStatus) -> Mask:
    """Return which trials ended in one of `statuses`."""
    status = run.trials["status"].to_numpy(dtype=object)
    return np.isin(status, [each.value for each in statuses])


@once
def is_completed(run: Run) -> Mask:
    """Return which trials trained to their end."""
    return has_status(run, TrialStatus.COMPLETED)


@once
def is_replicate(run: Run) -> Mask:
    """Return which trials repeat another one of their `group` with another seed."""
    group = run.trials["group"]
    return (group.notna() & (group != run.trials["trial_id"])).to_numpy(dtype=bool)


@once
def is_over_budget(run: Run) -> Mask:
    """Return which trials held more than the budget they ran under."""
    return peaks(run) > floats(run.trials, "budget_bytes")  # NaN compares false


@once
def is_candidate(run: Run) -> Mask:
    """Return which trials may be best: completed, with a finite metric and a positive peak.

    A trial that was stopped early trained for fewer epochs than asked, so its metric is no result.
    A replicate repeats a trial with another seed; the best of several seeds would flatter it.
    """
    known = np.isfinite(metrics(run)) & np.isfinite(peaks(run)) & (peaks(run) > 0)
    return is_completed(run) & known & ~is_replicate(run)


@once
def is_on_front(run: Run) -> Mask:
    """Return which trials no other candidate beats in metric and peak."""
    return non_dominated(np.where(is_candidate(run), metrics(run), np.nan), peaks(run))
