"""Metric against peak memory: what is drawn where, and how it is marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from analysis.charts import RUN_CYCLE, Axis, Chart, Line, Mark, Panel, Points, Rule
from analysis.columns import is_drawable, metrics_of, peaks_of
from analysis.load import RUN, Run
from analysis.pareto import front_steps
from analysis.reference import ReferencePoint, load_reference
from analysis.seeds import Seeds, all_seeds, sure_front
from analysis.selection import is_candidate, is_on_front
from analysis.text import exact_size, format_metric
from patchtrain.record import TrialStatus
from patchtrain.units import format_bytes

LOG_AXIS_RATIO = 30
"""Peaks whose largest is more than this many times their smallest are drawn on a log axis."""


class Kind(str, Enum):
    """How a trial is marked."""

    DOMINATED = "dominated"
    REPLICATE = "replicate"
    STOPPED_EARLY = "stopped_early"
    OVER_BUDGET = "over_budget"
    FRONT = "front"
    OUT_OF_MEMORY = "out_of_memory"
    PREDICTED = "predicted_infeasible"


SURE = "what every seed reaches"
"""Of the configurations that were trained with several."""

STRIP_KINDS = (Kind.OUT_OF_MEMORY, Kind.PREDICTED)
"""Kinds without a result: drawn in a strip under the plot, at their memory."""

MARKS: Mapping[Kind, tuple[str, Mark]] = {
    Kind.DOMINATED: ("completed, not on the front", Mark("square", "s", "other", 7)),
    Kind.REPLICATE: ("a repeat with another seed", Mark("circle-open", "o", "front", 8)),
    Kind.STOPPED_EARLY: ("stopped early", Mark("triangle-up-open", "^", "stopped")),
    Kind.OVER_BUDGET: ("completed over its budget", Mark("cross", "P", "over", 10)),
    Kind.FRONT: ("on the front", Mark("circle", "o", "front", 11)),
    Kind.OUT_OF_MEMORY: ("out of memory", Mark("x", "x", "over", 8)),
    Kind.PREDICTED: ("predicted over budget, not run", Mark("diamond-open", "D", "predicted")),
}
"""Kind -> legend text and look, from the lowest layer to the highest."""

PAPER_MARKS: Mapping[str | None, tuple[str, Mark]] = {
    "local_global": ("paper: local_global", Mark("star", "*", "paper", 13)),
    "patchgd": ("paper: patchgd", Mark("hexagon-open", "h", "paper", 11)),
    "full": ("paper: full", Mark("pentagon-open", "p", "paper", 11)),
    "downsampled": ("paper: downsampled", Mark("triangle-down-open", "v", "paper", 11)),
    "tiled": ("paper: tiled", Mark("square-open", "s", "paper", 10)),
    None: ("paper: other networks", Mark("x-thin-open", "x", "paper", 10)),
}


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One trial in the plot."""

    run: str
    trial_id: str
    kind: Kind
    on_front: bool
    """That of all runs together."""
    peak_bytes: int
    """`peak_allocated_bytes`; for `Kind.PREDICTED` it is `predicted_peak_bytes`."""
    metric: float | None
    """None in the strip."""
    seeds: Seeds | None
    """What its configuration reached over several seeds."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The best metric of one run as a function of memory: corners of a line."""

    run: str
    peaks_bytes: tuple[float, ...]
    metrics: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ParetoInfo:
    """Everything that the plot shows."""

    metric_name: str
    runs: tuple[str, ...]
    points: tuple[ParetoPoint, ...]
    steps: tuple[Steps, ...]
    """One for each run that has a front."""
    sure: tuple[Steps, ...]
    """What every seed reaches, for each run that trained configurations with several."""
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


def pareto_info(run: Run) -> ParetoInfo:
    """Return what the Pareto plot of `run` shows."""
    on_front = is_on_front(run.trials)
    rows = run.rows
    seeds = all_seeds(run)
    placed = [
        point
        for row, front in zip(rows, on_front, strict=True)
        if (point := _point(row, bool(front), seeds)) is not None
    ]
    reference = comparable_reference(run)
    budgets = run.budgets_bytes
    peaks = [point.peak_bytes for point in placed]
    peaks += [*budgets, *(point.peak_bytes for point in reference if point.peak_bytes)]
    low, high, log_axis = _axis_range(peaks)
    heights = [point.metric for point in placed if point.metric is not None]
    heights += [end for p in placed if p.seeds for end in (p.seeds.lowest, p.seeds.highest)]
    heights += [point.metrics[run.metric_name] for point in reference]
    unit, unit_bytes = unit_of(max(peaks, default=0))
    num_failed = sum(row["status"] == TrialStatus.FAILED.value for row in rows)
    return ParetoInfo(
        metric_name=run.metric_name,
        runs=run.names,
        points=tuple(sorted(placed, key=lambda point: list(Kind).index(point.kind))),
        steps=tuple(_steps(run, name) for name in run.names),
        sure=tuple(each for name in run.names if (each := _sure(run, name)).peaks_bytes),
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


def pareto_chart(info: ParetoInfo) -> Chart:
    """Return the still plot."""
    strip: list[Points | Line] = []
    main: list[Points | Line] = [
        Line(
            label=_of_run(info, steps.run, f"best {info.metric_name} in that much memory"),
            x=[peak / info.unit_bytes for peak in steps.peaks_bytes],
            y=steps.metrics,
            colour=_colour(info, steps.run, "front"),
        )
        for steps in info.steps
        if steps.peaks_bytes
    ]
    main += [
        Line(
            label=_of_run(info, steps.run, SURE),
            x=[peak / info.unit_bytes for peak in steps.peaks_bytes],
            y=steps.metrics,
            colour=_colour(info, steps.run, "front"),
            width=1.5,
            is_dotted=True,
        )
        for steps in info.sure
    ]
    for kind, (label, mark) in MARKS.items():
        for name in info.runs:
            points = [p for p in info.points if p.kind is kind and p.run == name]
            if points:
                (strip if kind in STRIP_KINDS else main).append(
                    _points(info, points, f"{_of_run(info, name, label)} ({len(points)})", mark)
                )
    main += [
        _reference_points(info, published, label, mark)
        for method, (label, mark) in PAPER_MARKS.items()
        if (published := [p for p in info.reference if mark_name(p) == method])
    ]
    return Chart(
        name="pareto",
        title=f"{info.metric_name} against memory",
        panels=_panels(info, tuple(main), tuple(strip)),
        share_x=True,
    )


def comparable_reference(run: Run) -> tuple[ReferencePoint, ...]:
    """Return the paper's points that may stand beside the run's: same data, same metric."""
    if run.data_is_sample:
        return ()
    return tuple(
        point
        for point in load_reference(run.dataset)
        if run.metric_name in point.metrics and point.peak_bytes is not None
    )


def reference_text(point: ReferencePoint, metric_name: str) -> str:
    """Return what a point of the paper says when it is pointed at."""
    lines = [
        f"{metric_name} {format_metric(point.metrics[metric_name])}, "
        f"peak {format_bytes(point.peak_bytes or 0)}",
        point.method or point.label,
        *([point.backbone] if point.backbone else []),
        point.size_text,
        *([f"patch {point.patch_size} px"] if point.patch_size else []),
        point.source,
    ]
    return "\n".join(lines)


def unit_of(largest_bytes: float) -> tuple[str, int]:
    """Return the unit of an axis and its bytes."""
    return ("GB", 10**9) if largest_bytes >= 10**9 else ("MB", 10**6)


def kind_of(row: Mapping[str, Any], on_front: bool) -> Kind | None:
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


def mark_name(point: ReferencePoint) -> str | None:
    """Return the key of `PAPER_MARKS` of a point of the paper."""
    return point.method if point.method in PAPER_MARKS else None


def _steps(run: Run, name: str) -> Steps:
    trials = run.trials_of(name)
    candidate = is_candidate(trials) & is_drawable(metrics_of(trials))
    budgets = run.budgets_bytes
    peaks, metrics = front_steps(
        metrics_of(trials)[candidate],
        peaks_of(trials)[candidate],
        until=budgets[-1] if budgets else None,
    )
    return Steps(run=name, peaks_bytes=tuple(peaks.tolist()), metrics=tuple(metrics.tolist()))


def _sure(run: Run, name: str) -> Steps:
    peaks, metrics = sure_front(run, name)
    return Steps(run=name, peaks_bytes=tuple(peaks.tolist()), metrics=tuple(metrics.tolist()))


def _point(
    row: Mapping[str, Any], on_front: bool, seeds: Mapping[tuple[str, str], Seeds]
) -> ParetoPoint | None:
    kind = kind_of(row, on_front)
    if kind is None:
        return None
    peak = row["predicted_peak_bytes" if kind is Kind.PREDICTED else "peak_allocated_bytes"]
    metric = None if kind in STRIP_KINDS else row["metric"]
    if peak is None or peak <= 0:
        return None
    if kind not in STRIP_KINDS and (metric is None or not is_drawable(metric)):
        return None
    return ParetoPoint(
        run=row[RUN],
        trial_id=row["trial_id"],
        kind=kind,
        on_front=on_front,
        peak_bytes=int(peak),
        metric=metric,
        seeds=seeds.get((row[RUN], row["trial_id"])),
    )


def _of_run(info: ParetoInfo, name: str, label: str) -> str:
    return label if len(info.runs) == 1 else f"{name}: {label}"


def _colour(info: ParetoInfo, name: str, own: str) -> str:
    """Return a mark's own colour; that of its run where there are several."""
    return own if len(info.runs) == 1 else RUN_CYCLE[info.runs.index(name) % len(RUN_CYCLE)]


def _points(info: ParetoInfo, points: Sequence[ParetoPoint], label: str, mark: Mark) -> Points:
    in_strip = points[0].kind in STRIP_KINDS
    heights = [0.0 if point.metric is None else point.metric for point in points]
    if in_strip:
        heights = [float(STRIP_KINDS.index(points[0].kind))] * len(points)
    has_seeds = not in_strip and any(point.seeds for point in points)
    colour = _colour(info, points[0].run, mark.colour)
    return Points(
        label=label,
        x=[point.peak_bytes / info.unit_bytes for point in points],
        y=heights,
        mark=Mark(mark.plotly_symbol, mark.matplotlib_marker, colour, mark.size),
        low=[p.seeds.lowest if p.seeds else None for p in points] if has_seeds else (),
        high=[p.seeds.highest if p.seeds else None for p in points] if has_seeds else (),
    )


def _reference_points(
    info: ParetoInfo, points: Sequence[ReferencePoint], label: str, mark: Mark
) -> Points:
    return Points(
        label=label,
        x=[(point.peak_bytes or 0) / info.unit_bytes for point in points],
        y=[point.metrics[info.metric_name] for point in points],
        mark=mark,
        hover=[reference_text(point, info.metric_name) for point in points],
    )


def _panels(
    info: ParetoInfo, main: tuple[Points | Line, ...], strip: tuple[Points | Line, ...]
) -> tuple[Panel, ...]:
    low, high = (end / info.unit_bytes for end in info.range_bytes)
    x = Axis(
        title=f"peak_allocated_bytes ({info.unit}; 1 {info.unit} is {info.unit_bytes:,} bytes)",
        log=info.log_axis,
        ticks=info.log_ticks,
        range=(low, high),
    )
    budgets = list(zip(info.budgets_bytes, info.budget_levels, strict=True))
    upper = Panel(
        x=x,
        y=Axis(title=info.metric_name, range=info.range_metric),
        series=main,
        rules=tuple(
            Rule(at=b / info.unit_bytes, vertical=True, label=exact_size(b), level=level)
            for b, level in budgets
        ),
        height=5,
        note="" if info.has_metrics else "no trial has a result",
    )
    if not info.has_strip:
        return (upper,)
    rules = tuple(Rule(at=b / info.unit_bytes, vertical=True) for b, _ in budgets)
    names = tuple(kind.value for kind in STRIP_KINDS)
    lower = Panel(x=x, y=Axis(title="", categories=names), series=strip, rules=rules, height=0.8)
    return (upper, lower)


def _axis_range(peaks: Sequence[int]) -> tuple[float, float, bool]:
    """Return low and high end in bytes with some air, and whether the axis is logarithmic."""
    if not peaks:
        return 0.0, 1e9, False
    low, high = min(peaks), max(peaks)
    if high > LOG_AXIS_RATIO * low:
        return low / 1.3, high * 1.3, True
    air = 0.06 * (high - low) or 0.1 * high
    return max(0.0, low - air), high + air, False


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
