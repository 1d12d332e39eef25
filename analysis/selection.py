"""The rules by which trials are chosen: which count, which are on the front, which is best.

Knows nothing of files' formats or of drawing. One definition of "fits" for the whole package:
`peak_allocated_bytes <= budget`, the peak that is recorded on every device. A trial counts for
every budget that its peak fits, not only for the one it ran under.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import Run, rows_of
from analysis.pareto import Floats, Mask, hypervolume, non_dominated
from patchtrain.record import TrialStatus
from patchtrain.units import format_bytes, parse_bytes

GB = 10**9

UNKNOWN = "\N{EN DASH}"
"""How tables show what is not known or does not apply."""

PATCH_SETTINGS = ("sampling_rate", "num_sampled", "inner_iterations")

UNUSED_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "patchgd": ("fusion",),
    "tiled": ("fusion",),
    "downsampled": (*PATCH_SETTINGS, "fusion"),
    "full": ("patch_size", *PATCH_SETTINGS, "fusion"),
    "checkpointed": ("patch_size", *PATCH_SETTINGS, "fusion"),
}
"""Settings that a method records but does not read; a report that showed them would mislead."""


@dataclass(frozen=True)
class Seeds:
    """The metric of one configuration over several seeds."""

    mean: float
    deviation: float
    """Standard deviation of the sample."""
    num_seeds: int

    def __str__(self) -> str:
        mean, deviation = format_metric(self.mean), format_metric(self.deviation)
        return f"{mean} \N{PLUS-MINUS SIGN} {deviation} ({self.num_seeds} seeds)"


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


@dataclass(frozen=True, kw_only=True)
class Hypervolume:
    """The area under the front with the reference point that it depends on."""

    value: float
    """In units of the metric times GB (10^9 bytes)."""
    reference_metric: float
    reference_peak_bytes: int


def metrics_of(trials: pd.DataFrame) -> Floats:
    """Return the metric of every trial, NaN where unknown."""
    return trials["metric"].to_numpy(dtype=np.float64, na_value=np.nan)


def peaks_of(trials: pd.DataFrame) -> Floats:
    """Return `peak_allocated_bytes` of every trial, NaN where unknown."""
    return trials["peak_allocated_bytes"].to_numpy(dtype=np.float64, na_value=np.nan)


def is_candidate(trials: pd.DataFrame) -> Mask:
    """Return which trials may be best: completed, with a finite metric and a positive peak.

    A trial that was stopped early trained for fewer epochs than asked: its metric is no result.
    A replicate repeats a trial with another seed; the best of several seeds would flatter it.
    """
    completed = (trials["status"] == TrialStatus.COMPLETED.value).to_numpy(dtype=bool)
    peaks = peaks_of(trials)
    known = np.isfinite(metrics_of(trials)) & np.isfinite(peaks) & (peaks > 0)
    return completed & known & ~is_replicate(trials)


def is_replicate(trials: pd.DataFrame) -> Mask:
    """Return which trials repeat another one of their `group` with another seed."""
    group = trials["group"]
    return (group.notna() & (group != trials["trial_id"])).to_numpy(dtype=bool)


def over_seeds(run: Run, trial_id: str) -> Seeds | None:
    """Return what the trial reaches over the seeds it was trained with; None: it was with one."""
    group = run.trials["group"].fillna(run.trials["trial_id"]) == trial_id
    completed = run.trials["status"] == TrialStatus.COMPLETED.value
    metrics = metrics_of(run.trials[(group & completed).to_numpy(dtype=bool)])
    metrics = metrics[np.isfinite(metrics)]
    if len(metrics) < 2:
        return None
    return Seeds(float(metrics.mean()), float(metrics.std(ddof=1)), len(metrics))


def is_on_front(trials: pd.DataFrame) -> Mask:
    """Return which trials no other candidate beats in metric and peak."""
    candidate = is_candidate(trials)
    metrics = np.where(candidate, metrics_of(trials), np.nan)
    return non_dominated(metrics, peaks_of(trials))


def best_within(run: Run, budget_bytes: int | None) -> dict[str, Any] | None:
    """Return the row of the best candidate that fits; ties: the smaller peak, then trial_id."""
    fits = is_candidate(run.trials)
    if budget_bytes is not None:
        # NaN peaks compare false: an unknown peak does not fit
        fits &= peaks_of(run.trials) <= budget_bytes
    ranked = run.trials[fits].sort_values(
        ["metric", "peak_allocated_bytes", "trial_id"], ascending=[False, True, True]
    )
    return next(iter(rows_of(ranked.head(1))), None)


def answer(
    run: Run, budget_bytes: int | None, *, below: BudgetAnswer | None = None
) -> BudgetAnswer:
    """Return the best model within `budget_bytes`, and its gain over the smaller budget `below`."""
    trial = best_within(run, budget_bytes)
    return BudgetAnswer(
        budget_bytes=budget_bytes,
        trial=trial,
        gain=trial["metric"] - below.trial["metric"] if trial and below and below.trial else None,
        gain_over_bytes=below.budget_bytes if below else None,
        command=train_command(run, trial, budget_bytes) if trial else None,
        seeds=over_seeds(run, trial["trial_id"]) if trial else None,
    )


def best_per_budget(run: Run) -> list[BudgetAnswer]:
    """Return one answer per budget of the run, smallest first; one without limit if it has none."""
    answers: list[BudgetAnswer] = []
    for budget_bytes in run.budgets_bytes or (None,):
        answers.append(answer(run, budget_bytes, below=answers[-1] if answers else None))
    return answers


def config_path(run: Run, trial: Mapping[str, Any]) -> Path:
    """Return where the configuration that reruns `trial` lies."""
    return run.directory / "trials" / trial["trial_id"] / "config.yaml"


def train_command(run: Run, trial: Mapping[str, Any], budget_bytes: int | None) -> str:
    """Return the shell command that trains `trial` within `budget_bytes`.

    The configuration carries the budget that the trial ran under; where that is not the one asked
    for, the command sets it, so that the rerun is held to what was asked.
    """
    words = ["patchtrain", "train", str(config_path(run, trial))]
    if budget_bytes is not None and budget_bytes != trial["budget_bytes"]:
        words += ["--set", f"budget={exact_size(budget_bytes)}"]
    return shlex.join([*words, "--out", f"trained/{trial['trial_id']}"])


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


def front_hypervolume(run: Run) -> Hypervolume | None:
    """Return the hypervolume of the front; None for a run without candidates.

    The reference is metric 0 at the largest budget (the largest peak where there is no budget), so
    that sweeps over the same budgets can be compared.
    """
    metrics, peaks = metrics_of(run.trials), peaks_of(run.trials)
    candidate = is_candidate(run.trials)
    if not candidate.any():
        return None
    largest = run.budgets_bytes[-1] if run.budgets_bytes else peaks[candidate].max()
    reference_peak_bytes = int(largest)
    area = hypervolume(metrics[candidate], peaks[candidate] / GB, 0.0, reference_peak_bytes / GB)
    return Hypervolume(value=area, reference_metric=0.0, reference_peak_bytes=reference_peak_bytes)


def used_setting(trial: Mapping[str, Any], name: str) -> Any:
    """Return the setting `name` of `trial`; None where it is unknown or its method ignores it."""
    return None if name in UNUSED_SETTINGS.get(trial["method"], ()) else trial[name]


def describe(trial: Mapping[str, Any]) -> str:
    """Return the configuration of `trial` in one line."""
    settings = {name: used_setting(trial, name) for name in _DESCRIBED}
    parts = [
        text.format(value=value, **{"num_sampled": trial["num_sampled"]})
        for name, text in _DESCRIBED.items()
        if (value := settings[name]) is not None
    ]
    return ", ".join(parts)


_DESCRIBED = {
    "method": "{value}",
    "backbone": "{value}",
    "encoder": "encoder {value}",
    "image_size": "image {value} px",
    "patch_size": "patch {value} px",
    "sampling_rate": "sampling {value:.4g} (k {num_sampled})",
    "inner_iterations": "{value} inner iterations",
    "fusion": "fusion {value}",
}


def exact_size(num_bytes: int) -> str:
    """Return `num_bytes` for people where that loses nothing, else as plain bytes."""
    text = format_bytes(num_bytes)
    return text if parse_bytes(text) == num_bytes else f"{num_bytes}B"


def format_metric(value: float | None) -> str:
    """Return a metric for people; unknown is a dash."""
    if value is None or not np.isfinite(value):
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def _with_bytes(num_bytes: float) -> str:
    return f"{format_bytes(num_bytes)} ({num_bytes:.0f} bytes)"
