"""What the search cost and what it brought: hypervolume over trials and hours, and waste.

Knows nothing of files or of drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd

from analysis.columns import GB, is_completed, is_over_budget, is_replicate, metrics_of, peaks_of
from analysis.load import RUN, Run
from analysis.pareto import Floats, Mask, hypervolume_path
from analysis.selection import is_candidate, is_on_front
from patchtrain.record import TrialStatus


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The point that hypervolumes are measured from: the worst that counts."""

    metric: float
    peak_bytes: int
    is_of_results: bool = False
    """Whether the metric is the worst of the results, since it goes below 0: then other runs' have
    another one."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """The hypervolume of one run after each launched trial, in the order in which they ended."""

    run: str
    num_trials: tuple[int, ...]
    hours: tuple[float | None, ...]
    """Device hours so far; None from the first trial on whose time is not known."""
    values: tuple[float, ...]
    """In units of the metric times GB (10^9 bytes)."""


class Outcome(str, Enum):
    """What came of a trial, as far as time and memory are concerned."""

    FRONT = "on the front"
    DOMINATED = "completed, not on the front"
    REPLICATE = "a repeat with another seed"
    STOPPED = "stopped early"
    OVER_BUDGET = "completed over its budget"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    REFUSED = "predicted over budget, not run"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How many trials of one outcome there are and how long they took."""

    run: str
    outcome: Outcome
    num_trials: int
    hours: float
    """Device hours, of those whose time is known."""
    num_untimed: int
    """Launched trials whose time is not known."""


def reference_of(run: Run) -> Reference | None:
    """Return metric 0 at the largest budget; None for a run without candidates.

    The largest peak stands in where there is no budget. Fixed by the question, not by the results,
    so that sweeps over the same budgets can be compared. Only for a metric that goes below 0, such
    as a loss that was turned around, the worst candidate's metric stands in.
    """
    candidate = is_candidate(run.trials)
    if not candidate.any():
        return None
    budgets = run.budgets_bytes
    peak = budgets[-1] if budgets else int(peaks_of(run.trials)[candidate].max())
    worst = float(metrics_of(run.trials)[candidate].min())
    return Reference(metric=min(0.0, worst), peak_bytes=peak, is_of_results=worst < 0)


def hypervolume_paths(run: Run) -> tuple[Path, ...]:
    """Return how the hypervolume of each run grew, all from one reference point."""
    reference = reference_of(run)
    if reference is None:
        return ()
    return tuple(_path(name, run.trials_of(name), reference) for name in run.names)


def _path(name: str, trials: pd.DataFrame, reference: Reference) -> Path:
    launched = (trials["status"] != TrialStatus.PREDICTED_INFEASIBLE.value).to_numpy(dtype=bool)
    trials = trials[launched].sort_values("finished_at", kind="stable", na_position="last")
    candidate = is_candidate(trials)
    values = hypervolume_path(
        np.where(candidate, metrics_of(trials), np.nan),
        peaks_of(trials) / GB,
        reference.metric,
        reference.peak_bytes / GB,
    )
    hours = np.cumsum(hours_of(trials))
    return Path(
        run=name,
        num_trials=tuple(range(1, len(trials) + 1)),
        hours=tuple(None if np.isnan(each) else float(each) for each in hours),
        values=tuple(values.tolist()),
    )


def hours_of(trials: pd.DataFrame) -> Floats:
    """Return how long each trial took, in hours: from start to end, else its training time.

    NaN where neither is known. Trials that share a device count in full.
    """
    seconds = (trials["finished_at"] - trials["started_at"]).dt.total_seconds()
    spans = seconds.where(seconds > 0).to_numpy(dtype=np.float64, na_value=np.nan)
    training = trials["train_time_s"].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(spans), training, spans) / 3600


def spent(run: Run) -> tuple[Spent, ...]:
    """Return what each run's trials came to, without outcomes that did not occur."""
    outcomes = outcomes_of(run.trials)
    hours = hours_of(run.trials)
    found = []
    for name in run.names:
        of_run = (run.trials[RUN] == name).to_numpy(dtype=bool)
        for outcome, mask in outcomes.items():
            here = mask & of_run
            if here.any():
                cost = hours[here]
                known = np.isfinite(cost) if outcome is not Outcome.REFUSED else cost > np.inf
                found.append(
                    Spent(
                        run=name,
                        outcome=outcome,
                        num_trials=int(here.sum()),
                        hours=float(cost[known].sum()),
                        num_untimed=0 if outcome is Outcome.REFUSED else int((~known).sum()),
                    )
                )
    return tuple(found)


def outcomes_of(trials: pd.DataFrame) -> Mapping[Outcome, Mask]:
    """Return outcome -> which trials had it; a status that is not known here has none."""
    status = trials["status"].to_numpy(dtype=object)
    completed = is_completed(trials)
    over = completed & is_over_budget(trials)
    replicate = completed & is_replicate(trials) & ~over
    front = is_on_front(trials) & ~over
    return {
        Outcome.FRONT: front,
        Outcome.DOMINATED: completed & ~over & ~replicate & ~front,
        Outcome.REPLICATE: replicate,
        Outcome.STOPPED: status == TrialStatus.STOPPED_EARLY.value,
        Outcome.OVER_BUDGET: over,
        Outcome.OUT_OF_MEMORY: status == TrialStatus.OUT_OF_MEMORY.value,
        Outcome.FAILED: status == TrialStatus.FAILED.value,
        Outcome.REFUSED: status == TrialStatus.PREDICTED_INFEASIBLE.value,
    }
