"""Adding the global feature against concatenating it, between trials alike in all else.

Knows nothing of files or of drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.columns import is_completed, metrics_of, peaks_of
from analysis.load import RUN, Run, rows_of
from analysis.settings import SETTINGS, foreign_settings

WITHOUT_EFFECT = ("num_sampled", "patch_microbatch", "fusion")
"""Columns that need not agree: derived, without effect on what is learned, and the one compared."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two completed trials that differ in `fusion` alone."""

    run: str
    add: str
    """trial_id."""
    concat: str
    metric_gain: float
    """Metric of concat less that of add."""
    peak_bytes: tuple[int, int]
    """Of add and of concat."""

    @property
    def added_bytes(self) -> int:
        """Peak of concat less that of add."""
        return self.peak_bytes[1] - self.peak_bytes[0]


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """What pairs say of concat against add."""

    pairs: tuple[Pair, ...]
    mean_gain: float | None
    """Mean metric of concat less add; None without pairs."""
    half_width: float | None
    """Of the 95% interval of the mean gain by Student's t; None with fewer than two pairs."""
    num_better: int
    """Pairs in which concat is better."""
    num_worse: int
    median_peak_ratio: float | None
    """Median of peak of concat over peak of add."""


def fusion_pairs(run: Run) -> Fusion:
    """Return all pairs of one run, seed and configuration that differ in `fusion` alone.

    Budgets and `patch_microbatch` need not agree: they change memory, never what is learned. Where
    a configuration was trained several times, the trial of least peak stands for it.
    """
    trials = run.trials
    has_fusion = trials["fusion"].isin(["add", "concat"]) & (trials["method"] == "local_global")
    known = np.isfinite(metrics_of(trials)) & (peaks_of(trials) > 0)
    counting = trials[is_completed(trials) & known & has_fusion.to_numpy(dtype=bool)]
    alike = [
        *(name for name in SETTINGS if name not in WITHOUT_EFFECT),
        *foreign_settings(run),
        "epochs_done",
        "seed",
        RUN,
    ]
    rows = rows_of(counting)
    rows.sort(key=lambda row: (row["peak_allocated_bytes"], row["trial_id"]))
    sides: dict[tuple[object, ...], dict[str, dict[str, object]]] = {}
    for row in rows:
        sides.setdefault(tuple(row[name] for name in alike), {}).setdefault(row["fusion"], row)
    pairs = tuple(
        _pair(side["add"], side["concat"])
        for side in sides.values()
        if side.keys() == {"add", "concat"}
    )
    gains = np.array([pair.metric_gain for pair in pairs])
    return Fusion(
        pairs=pairs,
        mean_gain=float(gains.mean()) if pairs else None,
        half_width=_half_width(gains),
        num_better=int((gains > 0).sum()),
        num_worse=int((gains < 0).sum()),
        median_peak_ratio=(
            float(np.median([p.peak_bytes[1] / p.peak_bytes[0] for p in pairs])) if pairs else None
        ),
    )


def _pair(add: dict[str, object], concat: dict[str, object]) -> Pair:
    return Pair(
        run=str(add[RUN]),
        add=str(add["trial_id"]),
        concat=str(concat["trial_id"]),
        metric_gain=_float(concat["metric"]) - _float(add["metric"]),
        peak_bytes=(
            int(_float(add["peak_allocated_bytes"])),
            int(_float(concat["peak_allocated_bytes"])),
        ),
    )


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def _half_width(gains: np.ndarray) -> float | None:
    if len(gains) < 2:
        return None
    from scipy.stats import t

    quantile = float(t.ppf(0.975, len(gains) - 1))
    return quantile * float(gains.std(ddof=1)) / math.sqrt(len(gains))
