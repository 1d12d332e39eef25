"""What the record of a trial says about a budget, in Optuna's terms. Knows nothing of studies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from optuna.trial import TrialState

from patchtrain.record import TrialRecord, TrialStatus

DIRECTIONS: tuple[Literal["maximize"], Literal["minimize"]] = ("maximize", "minimize")
"""Of the two objectives: metric and peak in bytes."""

CONSTRAINT = "memory_bytes"
"""The Optuna constraint: peak minus budget, in bytes; a trial fits when it is 0 or less."""

_BLOCK_BYTES = 512
"""A trial that ran out of memory was over its budget by one allocator block at least."""


@dataclass(frozen=True)
class Verdict:
    """What a finished trial says about one budget, in Optuna's terms."""

    state: TrialState
    values: tuple[float, float] | None = None
    """Metric and peak in bytes."""
    violation_bytes: float | None = None
    """Peak minus budget; None: unknown."""


def verdict(record: TrialRecord, budget_bytes: int) -> Verdict | None:
    """Return what `record` says about `budget_bytes`; None if it says nothing about it.

    A trial that is known not to fit is PRUNED with its constraint value, not FAIL: samplers
    ignore failed trials, and would keep proposing what cannot fit.
    """
    if record.status in (TrialStatus.OUT_OF_MEMORY, TrialStatus.PREDICTED_INFEASIBLE):
        return _over_budget(record, budget_bytes)
    is_own = budget_bytes == record.budget_bytes
    metric, peak = record.metric, record.peak_allocated_bytes
    failed = record.status is TrialStatus.FAILED
    if failed or metric is None or not math.isfinite(metric) or peak is None:
        return Verdict(TrialState.FAIL) if is_own else None
    over = peak - budget_bytes
    if not is_own:
        if over > 0:
            return Verdict(TrialState.PRUNED, violation_bytes=over)
        # An allocator may hold more than the tensors need. If it held more than this budget
        # although the tensors fit, only a run can tell.
        held = (record.peak_reserved_bytes or 0, record.peak_process_bytes or 0)
        if max(held) > budget_bytes:
            return None
    over = min(over, 0)  # it did run under its own budget
    if record.status is TrialStatus.STOPPED_EARLY:
        return Verdict(TrialState.PRUNED, violation_bytes=over)
    return Verdict(TrialState.COMPLETE, (metric, float(peak)), over)


def _over_budget(record: TrialRecord, budget_bytes: int) -> Verdict | None:
    """Return what a trial that did not fit its own budget says about `budget_bytes`."""
    if record.budget_bytes is not None and budget_bytes > record.budget_bytes:
        return None  # nobody knows what it would have needed with more
    peaks = (record.peak_allocated_bytes, record.predicted_peak_bytes)
    over = max(peak for peak in (*peaks, 0) if peak is not None) - budget_bytes
    return Verdict(TrialState.PRUNED, violation_bytes=max(over, _BLOCK_BYTES))
