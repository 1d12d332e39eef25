"""What the record of a trial says about a budget, in Optuna's terms. Knows nothing of studies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from optuna.trial import TrialState

from patchtrain.record import TrialRecord, TrialStatus

_BLOCK_BYTES = 512
"""The least by which a trial that ran out of memory was over its budget: one allocator block."""


@dataclass(frozen=True)
class Verdict:
    """What a finished trial says about one budget, in Optuna's terms."""

    state: TrialState
    values: tuple[float, float] | None = None
    """Metric and peak in bytes."""
    violation_bytes: float | None = None
    """Peak minus budget; None: unknown."""


def verdict(record: TrialRecord, budget_bytes: int) -> Verdict | None:
    """Return what `record` says about `budget_bytes`; None when it says nothing about it.

    A trial that is known not to fit is PRUNED with its constraint value, not FAIL: samplers
    ignore failed trials, and would go on proposing what cannot fit.
    """
    own = budget_bytes == record.budget_bytes
    if record.status in (TrialStatus.OUT_OF_MEMORY, TrialStatus.PREDICTED_INFEASIBLE):
        if record.budget_bytes is not None and budget_bytes > record.budget_bytes:
            return None  # what it would have needed with more is unknown
        peaks = (record.peak_allocated_bytes, record.predicted_peak_bytes)
        over = max(peak for peak in (*peaks, 0) if peak is not None) - budget_bytes
        return Verdict(TrialState.PRUNED, violation_bytes=max(over, _BLOCK_BYTES))
    metric, peak = record.metric, record.peak_allocated_bytes
    failed = record.status is TrialStatus.FAILED
    if failed or metric is None or not math.isfinite(metric) or peak is None:
        return Verdict(TrialState.FAIL) if own else None
    over = peak - budget_bytes
    if not own:
        if over > 0:
            return Verdict(TrialState.PRUNED, violation_bytes=over)
        # An allocator may hold more than the tensors need: with more held than this budget but
        # tensors that fit, only a run can tell.
        held = (record.peak_reserved_bytes or 0, record.peak_process_bytes or 0)
        if max(held) > budget_bytes:
            return None
    over = min(over, 0)  # it did run under its own budget
    if record.status is TrialStatus.STOPPED_EARLY:
        return Verdict(TrialState.PRUNED, violation_bytes=over)
    return Verdict(TrialState.COMPLETE, (metric, float(peak)), over)
