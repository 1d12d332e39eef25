"""Draws charts with matplotlib for papers and slides, on white.

Knows nothing of trials or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.draw.charts import LIGHT, Axis, Bars, Chart, Line, Mark, Panel, Points

MOST_VECTORS = 2000
"""An SVG shows more points than this as pixels; as shapes they would make it too slow to open."""


def draw_matplotlib(chart: Chart, title: str | None = None) -> Figure:
    """Return the chart as a figure; `title` stands over it in place of the chart's own."""
    # names come from data, where a `$` does not begin a formula
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 10}):
        columns = 1 if chart.share_x else chart.columns
        rows = math.ceil(len(chart.panels) / columns)
        figure = Figure(figsize=_size(chart, rows, columns), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        heights = [panel.height for panel in chart.panels[::columns]]
        all_axes = (
            figure.subplots(
                rows, columns, sharex=chart.share_x, squeeze=False, height_ratios=heights
            )
            .ravel()
            .tolist()
        )
        for axes, panel in zip(all_axes, chart.panels, strict=False):
            _draw_panel(panel, axes, has_x_labels=not chart.share_x or panel is chart.panels[-1])
        for axes in all_axes[len(chart.panels) :]:
            axes.set_axis_off()
        figure.suptitle(title or chart.title, x=0.01, ha="left", weight="bold")
        _draw_legend(figure, all_axes)
    return figure


def _size(chart: Chart, rows: int, columns: int) -> tuple[float, float]:
    if chart.share_x:
        return 8.0, 6.0
    lines = max((len(panel.y.categories) for panel in chart.panels), default=0)
    return (8.0 if columns == 1 else 4.6 * columns), max(3.6, 1.2 + 0.32 * lines) * rows + 0.8


def _draw_legend(figure: Figure, all_axes: Sequence[Any]) -> None:
    found: dict[str, Any] = {}
    for axes in all_axes:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside lower center",
            ncols=2 if len(found) < 7 else 3,
            frameon=False,
        )


def _draw_panel(panel: Panel, axes: Any, *, has_x_labels: bool) -> None:
    left: np.ndarray | None = None
    for series in panel.series:
        if isinstance(series, Bars):
            left = _draw_bars(series, axes, left)
        elif isinstance(series, Line):
            _draw_line(series, axes)
        else:
            _draw_points(series, axes)
    for rule in panel.rules:
        draw = axes.axvline if rule.vertical else axes.axhline
        draw(rule.at, color=LIGHT["muted"], linestyle="--", linewidth=1, zorder=1)
        if rule.label and rule.vertical:
            axes.annotate(
                rule.label,
                (rule.at, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3 + 12 * rule.level),
                textcoords="offset points",
                ha="center",
                color=LIGHT["muted"],
                weight="bold",
            )
    if panel.title:
        axes.set_title(panel.title, loc="left", fontsize=10)
    if panel.note:
        axes.text(
            0.5,
            0.5,
            panel.note,
            transform=axes.transAxes,
            ha="center",
            color=LIGHT["muted"],
            wrap=True,
        )
    axes.grid(axis="x" if panel.y.categories else "y", color=LIGHT["grid"], zorder=0)
    _set_axis(axes, panel.x, "x", has_labels=has_x_labels)
    _set_axis(axes, panel.y, "y", has_labels=True)


def _draw_points(series: Points, axes: Any) -> None:
    known = [
        (x, y, low, high)
        for x, y, low, high in zip(
            series.x, series.y, series.low or series.y, series.high or series.y, strict=True
        )
        if low is not None and high is not None
    ]
    if series.low and known:
        x, y, low, high = map(np.asarray, zip(*known, strict=True))
        axes.errorbar(
            x,
            y,
            yerr=[np.maximum(0, y - low), np.maximum(0, high - y)],
            fmt="none",
            ecolor=LIGHT[series.mark.colour],
            elinewidth=1.2,
            capsize=3,
            zorder=2,
        )
    axes.scatter(
        series.x,
        series.y,
        label=series.label if series.in_legend else None,
        rasterized=len(series.x) > MOST_VECTORS,
        **_marker(series.mark),
    )


def _marker(mark: Mark) -> dict[str, Any]:
    colour = LIGHT[mark.colour]
    marker = {"marker": mark.matplotlib_marker, "s": mark.size**2 * 0.7, "zorder": 3}
    if mark.is_open:
        return marker | {"facecolors": "none", "edgecolors": colour}
    return marker | {"color": colour}


def _draw_line(series: Line, axes: Any) -> None:
    axes.plot(
        series.x,
        series.y,
        color=LIGHT[series.colour],
        linewidth=series.width * 0.8,
        linestyle=":" if series.is_dotted else "-",
        drawstyle="steps-post" if series.is_stepped else "default",
        marker=series.mark.matplotlib_marker if series.mark else None,
        markersize=4,
        label=series.label if series.in_legend else None,
    )


def _draw_bars(series: Bars, axes: Any, left: np.ndarray | None) -> np.ndarray:
    places = np.arange(len(series.lengths))
    lengths = np.asarray(series.lengths, dtype=np.float64)
    bars = axes.barh(
        places,
        lengths,
        left=left,
        color=LIGHT[series.colour],
        hatch=series.hatch[1] or None,
        edgecolor=LIGHT["surface"],
        label=series.label if series.in_legend else None,
        zorder=2,
    )
    if series.texts:
        axes.bar_label(bars, labels=list(series.texts), padding=3, color=LIGHT["text"], fontsize=9)
        axes.margins(x=0.2)
    return lengths if left is None else left + lengths


def _set_axis(axes: Any, axis: Axis, which: str, *, has_labels: bool) -> None:
    own = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        own.set_minor_locator(ticker.NullLocator())
        own.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.ticks:
        own.set_major_locator(ticker.FixedLocator(axis.ticks))
    elif axis.whole:
        own.set_major_locator(ticker.MaxNLocator(integer=True))
    if axis.categories:
        own.set_major_locator(ticker.FixedLocator(range(len(axis.categories))))
        own.set_major_formatter(ticker.FixedFormatter([_short(each) for each in axis.categories]))
        if which == "y":
            axes.set_ylim(len(axis.categories) - 0.4, -0.6)  # the first on top
        elif len(axis.categories) > 5:
            axes.tick_params(axis="x", rotation=30)
    if axis.range is not None:
        (axes.set_xlim if which == "x" else axes.set_ylim)(axis.range)
    if has_labels:
        (axes.set_xlabel if which == "x" else axes.set_ylabel)(axis.title)


def _short(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
