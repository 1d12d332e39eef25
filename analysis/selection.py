"""The rules by which trials are chosen: which count, which are on the front, which is best.

Knows nothing of files' formats or of drawing. One definition of "fits" for the whole package:
`peak_allocated_bytes <= budget`, the peak that is recorded on every device. A trial counts for
every budget that its peak fits, not only for the one it ran under.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import is_completed, is_replicate, metrics_of, peaks_of
from analysis.load import RUN, Run, rows_of
from analysis.pareto import Mask, non_dominated
from analysis.seeds import Seeds, group_peaks, lower_bounds, over_seeds
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
    """Metric above that within `gain_over_bytes`; None where there is none to compare with."""
    gain_over_bytes: int | None
    """The next smaller budget."""
    command: str | None
    """The command that trains it."""
    seeds: Seeds | None = None
    """Its metric over several seeds, where it was trained with them."""

    @property
    def budget_text(self) -> str:
        """The budget for people."""
        return "no limit" if self.budget_bytes is None else exact_size(self.budget_bytes)


def is_candidate(trials: pd.DataFrame) -> Mask:
    """Return which trials may be best: completed, with a finite metric and a positive peak.

    A trial that was stopped early trained for fewer epochs than asked: its metric is no result.
    A replicate repeats a trial with another seed; the best of several seeds would flatter it.
    """
    peaks = peaks_of(trials)
    known = np.isfinite(metrics_of(trials)) & np.isfinite(peaks) & (peaks > 0)
    return is_completed(trials) & known & ~is_replicate(trials)


def is_on_front(trials: pd.DataFrame) -> Mask:
    """Return which trials no other candidate beats in metric and peak."""
    candidate = is_candidate(trials)
    metrics = np.where(candidate, metrics_of(trials), np.nan)
    return non_dominated(metrics, peaks_of(trials))


def best_within(
    run: Run, budget_bytes: int | None, *, confidence: float | None = None
) -> dict[str, Any] | None:
    """Return the row of the best candidate that fits; ties: the smaller peak, then trial_id.

    Args:
        run: where to look.
        budget_bytes: None for no limit.
        confidence: go by what the mean over seeds reaches with that confidence, among the
            configurations with several seeds, whose largest peak counts.
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
        metric: the least that counts.
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
    scores, peaks = metrics_of(run.trials), peaks_of(run.trials)
    if confidence is not None:
        scores, peaks = lower_bounds(run, confidence), group_peaks(run, peaks)
    # NaN compares false: an unknown peak does not fit
    fits = is_candidate(run.trials) & np.isfinite(scores)
    if budget_bytes is not None:
        fits &= peaks <= budget_bytes
    if metric is not None:
        fits &= scores >= metric
    ranked = pd.DataFrame(
        {
            "score": -scores,
            "peak": peaks,
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
    """Return the answer that `trial` is."""
    return BudgetAnswer(
        budget_bytes=budget_bytes,
        trial=trial,
        gain=trial["metric"] - below.trial["metric"] if trial and below and below.trial else None,
        gain_over_bytes=below.budget_bytes if below else None,
        command=train_command(run, trial, budget_bytes) if trial else None,
        seeds=over_seeds(run, trial) if trial else None,
    )


def best_per_budget(run: Run) -> list[BudgetAnswer]:
    """Return one answer per budget of the run, smallest first; one without limit if it has none."""
    answers: list[BudgetAnswer] = []
    for budget_bytes in run.budgets_bytes or (None,):
        answers.append(answer(run, budget_bytes, below=answers[-1] if answers else None))
    return answers


@dataclass(frozen=True)
class Command:
    """The shell command that trains a trial, in two pieces with the budget to set between them."""

    before: str
    after: str

    def within(self, budget_bytes: int | None) -> str:
        """Return the command; the trial's own budget holds where `budget_bytes` is None."""
        budget = "" if budget_bytes is None else f" --set budget={exact_size(budget_bytes)}"
        return f"{self.before}{budget}{self.after}"


def config_name(trial: Mapping[str, Any]) -> str:
    """Return where in its run's folder the configuration that reruns `trial` lies."""
    return f"trials/{trial['trial_id']}/config.yaml"


def command_of(run: Run, trial: Mapping[str, Any]) -> Command | None:
    """Return how `trial` is trained again; None where its run has no folder.

    A configuration that lies behind a URI is fetched first.
    """
    folder = run.folders.get(trial[RUN])
    if folder is None:
        return None
    trial_id = trial["trial_id"]
    out = shlex.join(["--out", f"trained/{trial_id}"])
    if folder.is_local:
        train = shlex.join(["patchtrain", "train", folder.path_of(config_name(trial))])
        return Command(train, f" {out}")
    fetched = f"{trial_id}.yaml"
    show = ["python", "-m", "analysis", "show", folder.text, trial_id, "--config", fetched]
    return Command(
        f"{shlex.join(show)} && {shlex.join(['patchtrain', 'train', fetched])}", f" {out}"
    )


def train_command(run: Run, trial: Mapping[str, Any], budget_bytes: int | None) -> str | None:
    """Return the shell command that trains `trial` within `budget_bytes`.

    The configuration carries the budget that the trial ran under; where that is not the one asked
    for, the command sets it, so that the rerun is held to what was asked.
    """
    command = command_of(run, trial)
    if command is None:
        return None
    return command.within(None if budget_bytes == trial["budget_bytes"] else budget_bytes)


def why_nothing_fits(run: Run, budget_bytes: int | None) -> str:
    """Return one line: that nothing completed within the budget, the smallest peak, what to do."""
    peaks, candidate = peaks_of(run.trials), is_candidate(run.trials)
    limit = "" if budget_bytes is None else f" within {exact_size(budget_bytes)}"
    if candidate.any():
        smallest = _with_bytes(float(peaks[candidate].min()))
        return (
            f"no trial completed{limit}; the smallest peak of a completed trial is {smallest}: "
            "allow at least that, or sweep again with this budget"
        )
    failed = run.trials[run.trials["status"] == TrialStatus.FAILED.value]
    if len(failed) == len(run.trials) > 0:
        error = next(iter(failed["error"].dropna()), "no reason is recorded")
        return f"no trial completed{limit}; all {len(failed)} failed, the first with: {error}"
    measured = peaks[np.isfinite(peaks) & (peaks > 0)]
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
