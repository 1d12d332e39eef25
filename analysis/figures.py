"""What the figures show, as data: `ParetoInfo` and `CurvesInfo`, with their marks and colours.

`draw_plotly` and `draw_matplotlib` draw them. Knows nothing of plotting libraries, files or HTML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from analysis.load import Run, rows_of
from analysis.pareto import Floats, front_steps
from analysis.reference import ReferencePoint, load_reference
from analysis.selection import (
    best_per_budget,
    describe,
    is_candidate,
    is_on_front,
    metrics_of,
    peaks_of,
)
from patchtrain.record import TrialStatus

LARGEST_METRIC = 1e15
"""No plot can lay out what is further from 0; such a metric stays in the tables."""

LOG_AXIS_RATIO = 30
"""Peaks whose largest is more than this many times their smallest are drawn on a log axis."""

# Okabe and Ito's colour-blind-safe colours; on dark ground the lighter of their two blues
LIGHT: Mapping[str, str] = {
    "text": "#1f2933",
    "muted": "#52606d",
    "grid": "#e4e7eb",
    "surface": "#ffffff",
    "front": "#0072B2",
    "other": "#7b8794",
    "over": "#D55E00",
    "stopped": "#009E73",
    "predicted": "#CC79A7",
    "paper": "#E69F00",
    "faint": "#cbd2d9",
}
DARK: Mapping[str, str] = {
    **LIGHT,
    "text": "#e4e7eb",
    "muted": "#9aa5b1",
    "grid": "#323f4b",
    "surface": "#1b2229",
    "front": "#56B4E9",
    "other": "#9aa5b1",
    "over": "#E8743B",
    "faint": "#4a5763",
}


class Kind(str, Enum):
    """How a trial is marked in the Pareto plot."""

    DOMINATED = "dominated"
    REPLICATE = "replicate"
    STOPPED_EARLY = "stopped_early"
    OVER_BUDGET = "over_budget"
    FRONT = "front"
    OUT_OF_MEMORY = "out_of_memory"
    PREDICTED = "predicted_infeasible"


STRIP_KINDS = (Kind.OUT_OF_MEMORY, Kind.PREDICTED)
"""Kinds without a result: drawn in a strip under the plot, at their memory."""


@dataclass(frozen=True)
class Mark:
    """How one kind of point looks: legend text, marker in Plotly and matplotlib, colour name."""

    label: str
    plotly_symbol: str
    matplotlib_marker: str
    colour: str
    size: int = 9

    @property
    def is_open(self) -> bool:
        """Whether only the outline is drawn."""
        return self.plotly_symbol.endswith("-open")


MARKS: Mapping[Kind, Mark] = {
    Kind.DOMINATED: Mark("completed, not on the front", "square", "s", "other", 7),
    Kind.REPLICATE: Mark("the front with another seed", "circle-open", "o", "front", 8),
    Kind.STOPPED_EARLY: Mark("stopped early", "triangle-up-open", "^", "stopped"),
    Kind.OVER_BUDGET: Mark("completed over its budget", "cross", "P", "over", 10),
    Kind.FRONT: Mark("on the front", "circle", "o", "front", 11),
    Kind.OUT_OF_MEMORY: Mark("out of memory", "x", "x", "over", 8),
    Kind.PREDICTED: Mark("predicted over budget, not run", "diamond-open", "D", "predicted"),
}
PAPER_MARKS: Mapping[str, Mark] = {
    "local_global": Mark("paper: local_global", "star", "*", "paper", 13),
    "patchgd": Mark("paper: patchgd", "hexagon-open", "h", "paper", 11),
    "full": Mark("paper: full", "pentagon-open", "p", "paper", 11),
}


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One trial in the Pareto plot."""

    trial_id: str
    kind: Kind
    on_front: bool
    peak_bytes: int
    """`peak_allocated_bytes`; for `Kind.PREDICTED` it is `predicted_peak_bytes`."""
    metric: float | None
    """None in the strip."""
    description: str


@dataclass(frozen=True, kw_only=True)
class ParetoInfo:
    """Everything that the Pareto plot shows."""

    metric_name: str
    points: tuple[ParetoPoint, ...]
    step_peaks_bytes: tuple[float, ...]
    """Corners of the front, with `step_metrics`."""
    step_metrics: tuple[float, ...]
    budgets_bytes: tuple[int, ...]
    budget_levels: tuple[int, ...]
    """Row of each budget's label over the plot, so that near budgets do not overprint."""
    reference: tuple[ReferencePoint, ...]
    """The paper's points; empty unless the run is on the paper's data set, and not a sample."""
    range_bytes: tuple[float, float]
    range_metric: tuple[float, float] | None
    """None: nothing has a height."""
    log_axis: bool
    log_ticks: tuple[float, ...]
    """Where a log axis is labelled (1, 2, 5, 10, ...), in units of `unit_bytes`."""
    unit: str
    unit_bytes: int
    num_failed: int
    num_not_drawn: int
    """Trials that are not failed but have no position: no peak, or no metric."""

    @property
    def has_strip(self) -> bool:
        """Whether any trial has no result but a memory to draw."""
        return any(point.kind in STRIP_KINDS for point in self.points)

    @property
    def has_metrics(self) -> bool:
        """Whether anything at all has a height in the plot."""
        return any(p.kind not in STRIP_KINDS for p in self.points) or bool(self.reference)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The metric of one trial over its epochs."""

    trial_id: str
    epochs: tuple[int, ...]
    metrics: tuple[float, ...]
    label: str | None
    """Legend text of a trial that is best within a budget; None for the others."""


@dataclass(frozen=True, kw_only=True)
class CurvesInfo:
    """Everything that the learning curves show."""

    metric_name: str
    curves: tuple[Curve, ...]


def pareto_info(run: Run) -> ParetoInfo:
    """Return what the Pareto plot of `run` shows."""
    on_front = is_on_front(run.trials)
    rows = rows_of(run.trials)
    placed = [
        point
        for row, front in zip(rows, on_front, strict=True)
        if (point := _point(row, bool(front))) is not None
    ]
    reference = _comparable_reference(run)
    budgets = run.budgets_bytes
    peaks = [point.peak_bytes for point in placed]
    peaks += [*budgets, *(point.peak_bytes for point in reference if point.peak_bytes)]
    low, high, log_axis = _axis_range(peaks)
    heights = [point.metric for point in placed if point.metric is not None]
    heights += [point.metric for point in reference]
    candidate = is_candidate(run.trials) & _is_drawable(metrics_of(run.trials))
    step_peaks, step_metrics = front_steps(
        metrics_of(run.trials)[candidate],
        peaks_of(run.trials)[candidate],
        until=budgets[-1] if budgets else None,
    )
    unit, unit_bytes = _unit(max(peaks, default=0))
    num_failed = sum(row["status"] == TrialStatus.FAILED.value for row in rows)
    return ParetoInfo(
        metric_name=run.metric_name,
        points=tuple(sorted(placed, key=lambda point: list(Kind).index(point.kind))),
        step_peaks_bytes=tuple(step_peaks.tolist()),
        step_metrics=tuple(step_metrics.tolist()),
        budgets_bytes=budgets,
        budget_levels=_label_levels(budgets, low, high, log_axis),
        reference=reference,
        range_bytes=(low, high),
        range_metric=_metric_range(heights),
        log_axis=log_axis,
        log_ticks=_log_ticks(low / unit_bytes, high / unit_bytes) if log_axis else (),
        unit=unit,
        unit_bytes=unit_bytes,
        num_failed=num_failed,
        num_not_drawn=len(rows) - len(placed) - num_failed,
    )


def curves_info(run: Run) -> CurvesInfo:
    """Return the metric of every trial over its epochs, the best within each budget marked."""
    labels: dict[str, str] = {}
    for answer in best_per_budget(run):
        if answer.trial is not None:
            best = labels.get(answer.trial["trial_id"])
            budgets = f"{best}, {answer.budget_text}" if best else f"best in {answer.budget_text}"
            labels[answer.trial["trial_id"]] = budgets
    known = run.epochs[_is_drawable(metrics_of(run.epochs))].dropna(subset=["trial_id", "epoch"])
    curves = [
        Curve(
            trial_id=str(trial_id),
            epochs=tuple(int(epoch) for epoch in rows["epoch"]),
            metrics=tuple(float(metric) for metric in rows["metric"]),
            label=labels.get(str(trial_id)),
        )
        for trial_id, rows in known.sort_values("epoch").groupby("trial_id", sort=True)
    ]
    # the marked ones last, so that they lie on top, in the order of their budgets
    order = list(labels)
    curves.sort(key=lambda curve: order.index(curve.trial_id) if curve.label else -1)
    return CurvesInfo(metric_name=run.metric_name, curves=tuple(curves))


def _point(row: Mapping[str, Any], on_front: bool) -> ParetoPoint | None:
    kind = _kind(row, on_front)
    if kind is None:
        return None
    peak = row["predicted_peak_bytes" if kind is Kind.PREDICTED else "peak_allocated_bytes"]
    metric = None if kind in STRIP_KINDS else row["metric"]
    if peak is None or peak <= 0:
        return None
    if kind not in STRIP_KINDS and (metric is None or not _is_drawable(metric)):
        return None
    return ParetoPoint(
        trial_id=row["trial_id"],
        kind=kind,
        on_front=on_front,
        peak_bytes=int(peak),
        metric=metric,
        description=describe(row),
    )


def _kind(row: Mapping[str, Any], on_front: bool) -> Kind | None:
    """Return how a trial is marked; None for a failed one or a status that is not known here."""
    if row["status"] == TrialStatus.COMPLETED.value:
        peak, budget = row["peak_allocated_bytes"], row["budget_bytes"]
        if peak is not None and budget is not None and peak > budget:
            return Kind.OVER_BUDGET
        if row["group"] not in (None, row["trial_id"]):
            return Kind.REPLICATE
        return Kind.FRONT if on_front else Kind.DOMINATED
    return {
        TrialStatus.STOPPED_EARLY.value: Kind.STOPPED_EARLY,
        TrialStatus.OUT_OF_MEMORY.value: Kind.OUT_OF_MEMORY,
        TrialStatus.PREDICTED_INFEASIBLE.value: Kind.PREDICTED,
    }.get(row["status"])


def _comparable_reference(run: Run) -> tuple[ReferencePoint, ...]:
    """Return the paper's points that may stand beside the run's: same data, same metric."""
    if run.data_is_sample:
        return ()
    return tuple(
        point
        for point in load_reference(run.dataset)
        if point.metric_name == run.metric_name and point.peak_bytes is not None
    )


def _axis_range(peaks: Sequence[int]) -> tuple[float, float, bool]:
    """Return low and high end in bytes with some air, and whether the axis is logarithmic."""
    if not peaks:
        return 0.0, 1e9, False
    low, high = min(peaks), max(peaks)
    if high > LOG_AXIS_RATIO * low:
        return low / 1.3, high * 1.3, True
    air = 0.06 * (high - low) or 0.1 * high
    return max(0.0, low - air), high + air, False


def _is_drawable(metric: float | Floats) -> Any:
    return np.abs(metric) <= LARGEST_METRIC  # NaN compares false


def _metric_range(metrics: Sequence[float]) -> tuple[float, float] | None:
    """Return low and high end with some air, also around a single value."""
    if not metrics:
        return None
    low, high = min(metrics), max(metrics)
    air = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def _label_levels(
    budgets: Sequence[int], low: float, high: float, log_axis: bool, apart: float = 0.12
) -> tuple[int, ...]:
    """Return a row for each label so that labels in one row are `apart` of the axis or more."""

    def position(peak: float) -> float:
        if log_axis:
            return math.log(peak / low) / math.log(high / low)
        return (peak - low) / (high - low)

    last_in_row: list[float] = []
    levels = []
    for budget in budgets:
        x = position(budget)
        level = next(
            (row for row, last in enumerate(last_in_row) if x - last >= apart),
            len(last_in_row),
        )
        last_in_row[level:] = [x, *last_in_row[level + 1 :]]
        levels.append(level)
    return tuple(levels)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 5 else (1,)
    ticks = (float(f"{step}e{decade}") for decade in decades for step in steps)
    return tuple(tick for tick in ticks if low <= tick <= high)


def _unit(largest_bytes: float) -> tuple[str, int]:
    return ("GB", 10**9) if largest_bytes >= 10**9 else ("MB", 10**6)
