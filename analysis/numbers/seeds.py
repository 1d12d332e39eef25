"""One configuration over several seeds: mean, deviation and a lower bound of the mean.

Knows nothing of files or of drawing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.numbers.columns import is_completed, metrics, peaks
from analysis.pareto import Floats, attainment, front_steps
from analysis.runs.run import RUN, Run, once
from analysis.text import UNKNOWN, format_metric


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The metric of one configuration over two seeds or more."""

    mean: float
    deviation: float
    """Standard deviation of the sample."""
    lowest: float
    highest: float
    num_seeds: int

    def lower_bound(self, confidence: float) -> float:
        """Return what the mean over all seeds reaches with that confidence.

        The lower end of the one-sided interval of Student's t, which assumes that the metric is
        normally distributed over seeds.

        Args:
            confidence: above 0 and below 1, such as 0.95.
        """
        from scipy.stats import t

        quantile = float(t.ppf(confidence, self.num_seeds - 1))
        return self.mean - quantile * self.deviation / math.sqrt(self.num_seeds)


def seeds_text(seeds: Seeds | None) -> str:
    """Return mean and deviation over seeds; unknown is a dash."""
    if seeds is None:
        return UNKNOWN
    mean, deviation = format_metric(seeds.mean), format_metric(seeds.deviation)
    return f"{mean} \N{PLUS-MINUS SIGN} {deviation} ({seeds.num_seeds} seeds)"


@once
def all_seeds(run: Run) -> dict[tuple[str, str], Seeds]:
    """Return (run, trial_id) of a configuration's first trial -> its seeds, if it has several."""
    trials = run.trials
    grouped = trials["group"].notna().to_numpy(dtype=bool)
    repeated = trials[is_completed(run) & np.isfinite(metrics(run)) & grouped]
    found = repeated.groupby([RUN, "group"], sort=False)["metric"].agg(
        ["mean", "std", "min", "max", "count"]
    )
    return {
        (str(run_name), str(group)): Seeds(
            mean=float(mean),
            deviation=float(deviation),
            lowest=float(lowest),
            highest=float(highest),
            num_seeds=int(count),
        )
        for (run_name, group), mean, deviation, lowest, highest, count in found[
            found["count"] > 1
        ].itertuples(name=None)
    }


def sure_front(run: Run, name: str) -> tuple[Floats, Floats]:
    """Return corners (peak, metric) of what every seed reaches in that much memory.

    Only the configurations that run `name` trained with several seeds count. Each seed is a
    repetition of the sweep, and this is the attainment surface of all of them. Empty without such
    configurations.
    """
    repeated = {group for run_name, group in all_seeds(run) if run_name == name}
    in_group = run.trials["group"].isin(repeated).to_numpy(dtype=bool)
    counting = np.flatnonzero(is_completed(run) & run.masks_by_name[name] & in_group)
    places = run.trials["seed"].iloc[counting].groupby(run.trials["seed"].iloc[counting]).indices
    by_seed = [(metrics(run)[counting[at]], peaks(run)[counting[at]]) for at in places.values()]
    if len(by_seed) < 2:
        return np.array([]), np.array([])
    at = np.unique(np.concatenate([known[np.isfinite(known)] for _, known in by_seed]))
    reached = attainment(by_seed, at, share=1.0)
    return front_steps(np.where(np.isfinite(reached), reached, np.nan), at)


def over_seeds(run: Run, trial: Mapping[str, Any]) -> Seeds | None:
    """Return what the trial reaches over its seeds; None where it was trained with one."""
    return all_seeds(run).get((trial[RUN], trial["trial_id"]))


def lower_bounds(run: Run, confidence: float) -> Floats:
    """Return the lower bound of each trial's mean over seeds; NaN without several seeds."""
    seeds = all_seeds(run)
    keys = zip(run.trials[RUN], run.trials["trial_id"], strict=True)
    return np.array(
        [seeds[key].lower_bound(confidence) if key in seeds else np.nan for key in keys],
        dtype=np.float64,
    )


@once
def group_peaks(run: Run) -> Floats:
    """Return for each trial the largest peak of its configuration over the seeds."""
    frame = pd.DataFrame(
        {
            RUN: run.trials[RUN].to_numpy(),
            "group": run.trials["group"].fillna(run.trials["trial_id"]).to_numpy(),
            "peak": peaks(run),
        }
    )
    return frame.groupby([RUN, "group"])["peak"].transform("max").to_numpy(dtype=np.float64)
