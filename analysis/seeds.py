"""One configuration over several seeds: mean, deviation and what the mean surely reaches.

Knows nothing of files or of drawing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import is_completed, metrics_of, peaks_of
from analysis.load import RUN, Run
from analysis.pareto import Floats, attainment, front_steps


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

        The lower end of the one-sided interval of Student's t, which takes the metric over seeds
        for normal.

        Args:
            confidence: above 0 and below 1, such as 0.95.
        """
        from scipy.stats import t

        quantile = float(t.ppf(confidence, self.num_seeds - 1))
        return self.mean - quantile * self.deviation / math.sqrt(self.num_seeds)


def all_seeds(run: Run) -> dict[tuple[str, str], Seeds]:
    """Return (run, trial_id) of a configuration's first trial -> its seeds, if it has several."""
    trials = run.trials
    grouped = trials["group"].notna().to_numpy(dtype=bool)
    repeated = trials[is_completed(trials) & np.isfinite(metrics_of(trials)) & grouped]
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

    Of the configurations that run `name` trained with several seeds: a seed is a repetition of the
    sweep, and this is the attainment surface of all of them. Empty without such configurations.
    """
    trials = run.trials_of(name)
    repeated = {group for run_name, group in all_seeds(run) if run_name == name}
    rows = trials[is_completed(trials) & trials["group"].isin(repeated).to_numpy(dtype=bool)]
    by_seed = [(metrics_of(of_seed), peaks_of(of_seed)) for _, of_seed in rows.groupby("seed")]
    if len(by_seed) < 2:
        return np.array([]), np.array([])
    at = np.unique(np.concatenate([peaks[np.isfinite(peaks)] for _, peaks in by_seed]))
    reached = attainment(by_seed, at, share=1.0)
    return front_steps(np.where(np.isfinite(reached), reached, np.nan), at)


def over_seeds(run: Run, trial: Mapping[str, Any]) -> Seeds | None:
    """Return what the trial reaches over the seeds it was trained with; None: it was with one."""
    return all_seeds(run).get((trial[RUN], trial["trial_id"]))


def lower_bounds(run: Run, confidence: float) -> Floats:
    """Return for each trial what its mean over seeds surely reaches; NaN without several seeds."""
    seeds = all_seeds(run)
    keys = zip(run.trials[RUN], run.trials["trial_id"], strict=True)
    return np.array(
        [seeds[key].lower_bound(confidence) if key in seeds else np.nan for key in keys],
        dtype=np.float64,
    )


def group_peaks(run: Run, peaks: Floats) -> Floats:
    """Return for each trial the largest peak of its configuration over the seeds."""
    frame = pd.DataFrame(
        {
            RUN: run.trials[RUN].to_numpy(),
            "group": run.trials["group"].fillna(run.trials["trial_id"]).to_numpy(),
            "peak": peaks,
        }
    )
    return frame.groupby([RUN, "group"])["peak"].transform("max").to_numpy(dtype=np.float64)
