"""Hypervolume over trials and over device hours: what further searching brought."""

from __future__ import annotations

from analysis.charts import RUN_CYCLE, Axis, Chart, Line, Panel
from analysis.columns import is_drawable
from analysis.progress import Path, Reference
from analysis.text import exact_size

MOST_CORNERS = 2000
"""A line of more corners is thinned; its first and last stay."""


def growth_chart(paths: tuple[Path, ...], reference: Reference | None, metric_name: str) -> Chart:
    """Return one line a run in each of two panels."""
    y = Axis(title=f"hypervolume ({metric_name} x GB)")
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
