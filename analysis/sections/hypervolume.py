"""Search progress: the hypervolume of the front over launched trials and over device hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.draw.axes import range_of_equals
from analysis.draw.charts import RUN_CYCLE, Axis, Chart, Line, Panel
from analysis.draw.tables import Cell, Column, Table, text_column
from analysis.numbers.columns import (
    GB,
    has_status,
    hours,
    is_candidate,
    is_drawable,
    metrics,
    peaks,
)
from analysis.pareto import hypervolume_path
from analysis.runs.run import Run, once
from analysis.sections.section import Block, Figure, Listing, Section, Text
from analysis.text import UNKNOWN, exact_size
from patchtrain.record import TrialStatus

MOST_CORNERS = 2000
"""A line of more corners is thinned; its first and last stay."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The point that hypervolumes are measured from: the worst that counts."""

    metric: float
    peak_bytes: int
    is_of_results: bool = False
    """Whether the metric is that of the worst result, because it goes below 0; other runs then have
    another reference."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """The hypervolume of one run after each launched trial, in the order in which they ended."""

    run: str
    num_trials: tuple[int, ...]
    hours: tuple[float | None, ...]
    """Device hours so far; None from the first trial whose time is unknown."""
    values: tuple[float, ...]
    """In units of the metric times GB (10^9 bytes)."""


@once
def reference_of(run: Run) -> Reference | None:
    """Return metric 0 at the largest budget; None for a run without candidates.

    Without a budget the largest peak takes its place. The question fixes this point, not the
    results, so sweeps over the same budgets can be compared. Only where the metric goes below 0,
    such as a loss with its sign turned, the worst candidate's metric takes the place of 0.
    """
    candidate = is_candidate(run)
    if not candidate.any():
        return None
    budgets = run.budgets_bytes
    peak = budgets[-1] if budgets else int(peaks(run)[candidate].max())
    worst = float(metrics(run)[candidate].min())
    return Reference(metric=min(0.0, worst), peak_bytes=peak, is_of_results=worst < 0)


@once
def hypervolume_paths(run: Run) -> tuple[Path, ...]:
    """Return how the hypervolume of each run grew, all from one reference point."""
    reference = reference_of(run)
    if reference is None:
        return ()
    return tuple(_path(run, name, reference) for name in run.names)


def _path(run: Run, name: str, reference: Reference) -> Path:
    launched = run.masks_by_name[name] & ~has_status(run, TrialStatus.PREDICTED_INFEASIBLE)
    places = np.flatnonzero(launched)
    ended = run.trials["finished_at"].iloc[places].reset_index(drop=True)
    places = places[ended.sort_values(kind="stable", na_position="last").index.to_numpy()]
    values = hypervolume_path(
        np.where(is_candidate(run), metrics(run), np.nan)[places],
        peaks(run)[places] / GB,
        reference.metric,
        reference.peak_bytes / GB,
    )
    so_far = np.cumsum(hours(run)[places]).tolist()
    return Path(
        run=name,
        num_trials=tuple(range(1, len(places) + 1)),
        hours=tuple(None if np.isnan(each) else each for each in so_far),
        values=tuple(values.tolist()),
    )


def growth_chart(paths: tuple[Path, ...], reference: Reference | None, metric_name: str) -> Chart:
    """Return one line a run in each of two panels."""
    y = Axis(
        title=f"hypervolume ({metric_name} x GB)",
        range=range_of_equals([value for path in paths for value in path.values]),
    )
    over_trials = tuple(
        _line(path, index, len(paths), hours=False) for index, path in enumerate(paths)
    )
    over_hours = tuple(
        _line(path, index, len(paths), hours=True)
        for index, path in enumerate(paths)
        if path.hours and path.hours[0] is not None
    )
    panels = [
        Panel(x=Axis(title="trials launched", whole=True), y=y, series=over_trials),
        Panel(x=Axis(title="device hours"), y=y, series=over_hours),
    ]
    where = (
        f" from {metric_name} {reference.metric:g} at {exact_size(reference.peak_bytes)}"
        if reference
        else ""
    )
    return Chart(
        name="hypervolume",
        title=f"Hypervolume{where}",
        panels=tuple(panel for panel in panels if panel.series),
        columns=2,
    )


def _line(path: Path, index: int, num_paths: int, *, hours: bool) -> Line:
    known = [
        (n, hour, value)
        for n, hour, value in zip(path.num_trials, path.hours, path.values, strict=True)
        if (hour is not None or not hours) and is_drawable(value)
    ]
    step = -(-len(known) // MOST_CORNERS)
    kept = [*known[:-1][::step], known[-1]] if known else []
    return Line(
        label=path.run,
        x=[hour if hours and hour is not None else n for n, hour, _ in kept],
        y=[value for _, _, value in kept],
        colour=RUN_CYCLE[index % len(RUN_CYCLE)],
        is_stepped=True,
        in_legend=num_paths > 1,
        hover=[
            f"{path.run}\nafter {n} trials"
            + ("" if hour is None else f", {hour:.3g} device hours")
            + f": {value:.4g}"
            for n, hour, value in kept
        ],
    )


def growth_table(paths: Sequence[Path]) -> Table:
    """Return the hypervolume that each run ended with, and what it took."""
    return Table(
        name="hypervolume",
        title="Hypervolume of the front",
        columns=(
            text_column("Run"),
            Column("Hypervolume"),
            Column("Trials launched"),
            Column("Device hours"),
        ),
        rows=tuple(_row(path) for path in paths if path.values),
    )


def _row(path: Path) -> tuple[Cell, ...]:
    last = path.hours[-1]
    return (
        Cell(path.run),
        Cell(f"{path.values[-1]:.4g}", path.values[-1]),
        Cell(str(path.num_trials[-1]), path.num_trials[-1]),
        Cell(UNKNOWN if last is None else f"{last:.4g}", last),
    )


def _note(reference: Reference, name: str) -> str:
    worst = " (the worst of these results, since the metric goes below 0)"
    return (
        f"Hypervolume is the area under the front in {name}\N{THIN SPACE}\N{MULTIPLICATION SIGN}"
        f"\N{THIN SPACE}GB, measured from the reference point {name} {reference.metric:g} at "
        f"{exact_size(reference.peak_bytes)}{worst if reference.is_of_results else ''}. Larger is "
        "better; compare only runs with the same reference point. Where the line ends flat, "
        "further trials bring little. Device hours add up the time from start to end of each "
        "trial; trials that share a device count in full."
    )


def _build(run: Run) -> list[Block]:
    paths, reference = hypervolume_paths(run), reference_of(run)
    if reference is None:
        return []
    chart = growth_chart(paths, reference, run.metric_name)
    label = "Hypervolume of the front over launched trials and device hours"
    return [
        Figure(chart=chart, label=label),
        Listing(table=growth_table(paths), is_shown=not chart.is_empty),
        Text(text=_note(reference, run.metric_name), look="note", is_shown=not chart.is_empty),
    ]


SECTION = Section(name="hypervolume", heading="Search progress", build=_build)
