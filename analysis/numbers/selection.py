"""Which trial is chosen: the best within a budget, or the smallest that reaches a metric.

One definition of "fits" for the whole package: `peak_allocated_bytes <= budget`, the peak that is
recorded on every device. A trial counts for every budget that its peak fits, not only for the one
it ran under. Knows nothing of files' formats or of drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.numbers.columns import has_status, is_candidate, metrics, peaks
from analysis.numbers.rerun import train_command
from analysis.numbers.seeds import Seeds, group_peaks, lower_bounds, over_seeds
from analysis.runs.run import RUN, Run, once, rows_of
from analysis.text import exact_size
from patchtrain.record import TrialStatus
from patchtrain.units import format_bytes


@dataclass(frozen=True, kw_only=True)
class BudgetAnswer:
    """The best model within one budget."""

    budget_bytes: int | None
    """None: no limit."""
    trial: Mapping[str, Any] | None
    """The row of trials.parquet; None where no completed trial fits."""
    gain: float | None
    """How much better the metric is than within `gain_over_bytes`; None without a model there."""
    gain_over_bytes: int | None
    """The next smaller budget."""
    command: str | None
    """The command that trains it."""
    seeds: Seeds | None = None
    """The metric over several seeds, where the configuration was trained with them."""

    @property
    def budget_text(self) -> str:
        """The budget for people."""
        return "no limit" if self.budget_bytes is None else exact_size(self.budget_bytes)


def best_within(
    run: Run, budget_bytes: int | None, *, confidence: float | None = None
) -> dict[str, Any] | None:
    """Return the row of the best candidate that fits; ties: the smaller peak, then trial_id.

    Args:
        run: where to look.
        budget_bytes: None for no limit.
        confidence: compare lower bounds of the mean over seeds at that confidence, among the
            configurations with several seeds; their largest peak must fit.
    """
    return _first(run, confidence, budget_bytes, None, ["score", "peak"])


def smallest_reaching(
    run: Run,
    metric: float,
    *,
    budget_bytes: int | None = None,
    confidence: float | None = None,
) -> dict[str, Any] | None:
    """Return the row of the candidate of least peak that reaches `metric`; ties: the better one.

    Args:
        run: where to look.
        metric: the smallest value that will do.
        budget_bytes: None for no limit.
        confidence: as in `best_within`.
    """
    return _first(run, confidence, budget_bytes, metric, ["peak", "score"])


def _first(
    run: Run,
    confidence: float | None,
    budget_bytes: int | None,
    metric: float | None,
    order: list[str],
) -> dict[str, Any] | None:
    scores, held = metrics(run), peaks(run)
    if confidence is not None:
        scores, held = lower_bounds(run, confidence), group_peaks(run)
    # NaN compares false: an unknown peak does not fit
    fits = is_candidate(run) & np.isfinite(scores)
    if budget_bytes is not None:
        fits &= held <= budget_bytes
    if metric is not None:
        fits &= scores >= metric
    ranked = pd.DataFrame(
        {
            "score": -scores,
            "peak": held,
            "run": run.trials[RUN].to_numpy(),
            "trial_id": run.trials["trial_id"].to_numpy(),
        }
    )[fits].sort_values([*order, "run", "trial_id"])
    return next(iter(rows_of(run.trials.iloc[ranked.index[:1]])), None)


def answer(
    run: Run, budget_bytes: int | None, *, below: BudgetAnswer | None = None
) -> BudgetAnswer:
    """Return the best model within `budget_bytes`, and its gain over the smaller budget `below`."""
    return answer_with(run, best_within(run, budget_bytes), budget_bytes, below=below)


def answer_with(
    run: Run,
    trial: Mapping[str, Any] | None,
    budget_bytes: int | None,
    *,
    below: BudgetAnswer | None = None,
) -> BudgetAnswer:
    """Return `trial` as the answer for `budget_bytes`."""
    return BudgetAnswer(
        budget_bytes=budget_bytes,
        trial=trial,
        gain=trial["metric"] - below.trial["metric"] if trial and below and below.trial else None,
        gain_over_bytes=below.budget_bytes if below else None,
        command=train_command(run, trial, budget_bytes) if trial else None,
        seeds=over_seeds(run, trial) if trial else None,
    )


@once
def best_per_budget(run: Run) -> list[BudgetAnswer]:
    """Return one answer per budget of the run, smallest first; one without limit if it has none."""
    answers: list[BudgetAnswer] = []
    for budget_bytes in run.budgets_bytes or (None,):
        answers.append(answer(run, budget_bytes, below=answers[-1] if answers else None))
    return answers


def why_nothing_fits(run: Run, budget_bytes: int | None) -> str:
    """Return one line: that nothing completed within the budget, the smallest peak, what to do."""
    candidate = is_candidate(run)
    limit = "" if budget_bytes is None else f" within {exact_size(budget_bytes)}"
    if candidate.any():
        smallest = _with_bytes(float(peaks(run)[candidate].min()))
        return (
            f"no trial completed{limit}; the smallest peak of a completed trial is {smallest}: "
            "allow at least that, or sweep again with this budget"
        )
    failed = run.trials[has_status(run, TrialStatus.FAILED)]
    if len(failed) == len(run.trials) > 0:
        error = next(iter(failed["error"].dropna()), "no reason is recorded")
        return f"no trial completed{limit}; all {len(failed)} failed, the first with: {error}"
    measured = peaks(run)[np.isfinite(peaks(run)) & (peaks(run) > 0)]
    seen = (
        f"the smallest peak seen is {_with_bytes(float(measured.min()))}"
        if measured.size
        else "no peak was measured"
    )
    return (
        f"no trial completed{limit}; {seen}: "
        "sweep again with a larger budget, a smaller patch_size or a lower sampling_rate"
    )


def _with_bytes(num_bytes: float) -> str:
    return f"{format_bytes(num_bytes)} ({num_bytes:.0f} bytes)"
