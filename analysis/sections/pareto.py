"""Metric against peak memory: every trial, the front, the budgets, and the paper's points.

The still plot is drawn here. On the page a script draws the same from the data of `page.explorer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from analysis.draw.axes import axis_range, label_levels, log_ticks, metric_range
from analysis.draw.charts import RUN_CYCLE, Axis, Chart, Line, Mark, Panel, Points, Rule
from analysis.draw.tables import Cell, Column, Table, bytes_cell, metric_cell, text_column
from analysis.numbers.columns import (
    has_status,
    is_candidate,
    is_drawable,
    is_on_front,
    metrics,
    peaks,
)
from analysis.numbers.seeds import Seeds, all_seeds, seeds_text, sure_front
from analysis.numbers.varied import shown_settings
from analysis.pareto import Floats, front_steps
from analysis.reference import ReferencePoint
from analysis.runs.run import RUN, Run, once
from analysis.sections.cells import run_cells, run_columns, setting_cells, setting_columns
from analysis.sections.kinds import MARKS, STRIP_KINDS, Kind, kind_of
from analysis.sections.paper import (
    PAPER_MARKS,
    comparable_reference,
    mark_name,
    reference_text,
)
from analysis.sections.section import Block, Html, Listing, Section, Still, Text, plural
from analysis.text import exact_size, unit_of
from patchtrain.record import TrialStatus

SURE = "what every seed reaches"
"""The line over the configurations that were trained with several seeds."""


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One trial in the plot."""

    run: str
    trial_id: str
    kind: Kind
    on_front: bool
    """Whether it is on the front of all runs together."""
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
    """Row of each budget's label over the plot, so that labels close together do not overlap."""
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


@once
def pareto_info(run: Run) -> ParetoInfo:
    """Return what the Pareto plot of `run` shows."""
    placed = _placed(run)
    reference = comparable_reference(run)
    budgets = run.budgets_bytes
    sizes = [*(point.peak_bytes for point in placed), *budgets]
    sizes += [point.peak_bytes for point in reference if point.peak_bytes]
    low, high, log_axis = axis_range(sizes)
    unit, unit_bytes = unit_of(max(sizes, default=0))
    num_failed = int(has_status(run, TrialStatus.FAILED).sum())
    return ParetoInfo(
        metric_name=run.metric_name,
        runs=run.names,
        points=tuple(sorted(placed, key=lambda point: list(Kind).index(point.kind))),
        steps=tuple(_steps(run, name) for name in run.names),
        sure=tuple(each for name in run.names if (each := _sure(run, name)).peaks_bytes),
        budgets_bytes=budgets,
        budget_levels=label_levels(budgets, low, high, log_axis),
        reference=reference,
        range_bytes=(low, high),
        range_metric=metric_range(_heights(run, placed, reference)),
        log_axis=log_axis,
        log_ticks=log_ticks(low / unit_bytes, high / unit_bytes) if log_axis else (),
        unit=unit,
        unit_bytes=unit_bytes,
        num_failed=num_failed,
        num_not_drawn=len(run.trials) - len(placed) - num_failed,
    )


def _placed(run: Run) -> list[ParetoPoint]:
    seeds = all_seeds(run)
    on_front = is_on_front(run).tolist()
    points = (_point(row, front, seeds) for row, front in zip(run.rows, on_front, strict=True))
    return [point for point in points if point is not None]


def _heights(
    run: Run, placed: Sequence[ParetoPoint], reference: Sequence[ReferencePoint]
) -> list[float]:
    heights = [point.metric for point in placed if point.metric is not None]
    heights += [end for p in placed if p.seeds for end in (p.seeds.lowest, p.seeds.highest)]
    return heights + [point.metrics[run.metric_name] for point in reference]


def pareto_chart(info: ParetoInfo) -> Chart:
    """Return the still plot."""
    in_main = [kind for kind in MARKS if kind not in STRIP_KINDS]
    best = f"best {info.metric_name} in that much memory"
    main: tuple[Points | Line, ...] = (
        *(_line(info, each, best, 2) for each in info.steps if each.peaks_bytes),
        *(_line(info, each, SURE, 1.5, is_dotted=True) for each in info.sure),
        *_all_points(info, in_main),
        *(
            _reference_points(info, published, label, mark)
            for method, (label, mark) in PAPER_MARKS.items()
            if (published := [p for p in info.reference if mark_name(p) == method])
        ),
    )
    return Chart(
        name="pareto",
        title=f"{info.metric_name} against memory",
        panels=_panels(info, main, tuple(_all_points(info, STRIP_KINDS))),
        share_x=True,
    )


def _line(
    info: ParetoInfo, steps: Steps, label: str, width: float, *, is_dotted: bool = False
) -> Line:
    return Line(
        label=_of_run(info, steps.run, label),
        x=[peak / info.unit_bytes for peak in steps.peaks_bytes],
        y=steps.metrics,
        colour=_colour(info, steps.run, "front"),
        width=width,
        is_dotted=is_dotted,
    )


def _all_points(info: ParetoInfo, kinds: Sequence[Kind]) -> list[Points]:
    found: dict[tuple[Kind, str], list[ParetoPoint]] = {}
    for point in info.points:
        found.setdefault((point.kind, point.run), []).append(point)
    return [
        _points(info, points, f"{_of_run(info, name, label)} ({len(points)})", mark)
        for kind, (label, mark) in MARKS.items()
        for name in info.runs
        if kind in kinds and (points := found.get((kind, name)))
    ]


def _steps(run: Run, name: str) -> Steps:
    counting = is_candidate(run) & is_drawable(metrics(run)) & run.masks_by_name[name]
    last = run.budgets_bytes[-1] if run.budgets_bytes else None
    corners = front_steps(metrics(run)[counting], peaks(run)[counting], until=last)
    return _corners(name, *corners)


def _sure(run: Run, name: str) -> Steps:
    return _corners(name, *sure_front(run, name))


def _corners(name: str, at: Floats, reached: Floats) -> Steps:
    return Steps(run=name, peaks_bytes=tuple(at.tolist()), metrics=tuple(reached.tolist()))


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


def front_table(run: Run) -> Table:
    """Return the trials on the front, smallest peak first."""
    seeds, several = all_seeds(run), len(run.names) > 1
    front = run.rows_where(is_on_front(run))
    front.sort(key=lambda row: (row["peak_allocated_bytes"], row["trial_id"]))
    columns = (
        Column("Peak"),
        Column(run.metric_name),
        *([Column("Over seeds")] if seeds else []),
        *setting_columns(run),
        *run_columns(several),
        text_column("Trial"),
    )
    rows = tuple(
        (
            bytes_cell(row["peak_allocated_bytes"]),
            metric_cell(row["metric"]),
            *([Cell(seeds_text(seeds.get((row[RUN], row["trial_id"]))))] if seeds else []),
            *setting_cells(row, tuple(shown_settings(run))),
            *run_cells(row[RUN], several),
            Cell(row["trial_id"]),
        )
        for row in front
    )
    return Table(name="front", title="The front", columns=columns, rows=rows)


_EXPLORER = Markup("""\
  <div id="explorer">
    <div class="filters" id="filters" role="group" aria-label="Show trials by"></div>
    <div class="budget">
      <label for="budget">Budget</label>
      <input type="range" id="budget" min="0" max="0" value="0" step="1">
      <output id="budget-text" for="budget"></output>
      <span id="budget-stops"></span>
    </div>
    <div class="answer" id="budget-answer" aria-live="polite"></div>
    <div class="figure" id="pareto-plot" role="img"
      aria-label="{} against peak memory of {} trials; the same numbers are in the table of all trials"></div>
    <div class="answer" id="picked" aria-live="polite" hidden></div>
  </div>
""")  # noqa: E501


def _notes(info: ParetoInfo) -> str:
    """Return what a reader needs to know about the marks that are drawn."""
    tables = ", ".join(dict.fromkeys(point.table for point in info.reference))
    notes = {
        "Dashed lines are the budgets of the run; the full line is the one chosen above. Click a "
        "point, or a trial's name in the table of all trials, to see its configuration and "
        "command. Click a name in the legend to hide that kind.": info.points or info.reference,
        "Vertical bars go from the lowest to the highest of several seeds; the dotted line is what "
        "every seed reaches, over the configurations that were trained with several.": any(
            point.seeds for point in info.points
        ),
        "Crosses and open diamonds under the plot are trials without a result: stopped at their "
        "budget (at the memory they held then), or not run because they were predicted not to fit "
        "(at the predicted peak).": info.has_strip,
        f"Not drawn: {plural(info.num_failed, 'failed trial')}.": info.num_failed,
        f"Not drawn: {plural(info.num_not_drawn, 'trial')} without a recorded peak or metric.": (
            info.num_not_drawn
        ),
        f"The paper's points are as its authors published them (Table {tables}), on their hardware "
        "and their split of the data; the paper does not say which kind of peak it measured.": (
            info.reference
        ),
    }
    return " ".join(note for note, applies in notes.items() if applies)


def _build(run: Run) -> list[Block]:
    info = pareto_info(run)
    has_any = bool(info.points or info.reference)
    alt = f"{info.metric_name} against peak memory"
    explorer = Html(html=_EXPLORER.format(info.metric_name, len(info.points)))
    nothing = Text(text="Nothing to draw: no trial has a recorded peak.")
    return [
        explorer if has_any else nothing,
        Still(chart=pareto_chart(info), alt=alt, title=run.title, is_shown=has_any),
        Text(text=_notes(info), look="note"),
        Listing(table=front_table(run), folded="The front as a table"),
    ]


SECTION = Section(name="pareto", heading="{metric} against memory", build=_build)
