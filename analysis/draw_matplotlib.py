"""Draws figures for paper and slides, on white. Knows nothing of runs, files or HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures import LIGHT, MARKS, PAPER_MARKS, STRIP_KINDS, Mark, ParetoInfo
from analysis.selection import exact_size


def draw_pareto_matplotlib(info: ParetoInfo, title: str) -> Figure:
    """Return the Pareto plot for paper and slides, on white."""
    # names come from data: a `$` in them is no mathematics
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 10}):
        figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        heights = [5, 0.8] if info.has_strip else [1]
        all_axes = figure.subplots(
            len(heights), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]
        axes = all_axes[0]
        _draw_points(info, axes, all_axes[-1])
        _draw_budgets(info, all_axes)
        _label_axes(info, list(all_axes), title)
        handles, labels = axes.get_legend_handles_labels()
        if info.has_strip:
            more = all_axes[-1].get_legend_handles_labels()
            handles, labels = handles + more[0], labels + more[1]
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_points(info: ParetoInfo, axes: Any, strip: Any) -> None:
    if info.step_peaks_bytes:
        axes.plot(
            np.asarray(info.step_peaks_bytes) / info.unit_bytes,
            info.step_metrics,
            color=LIGHT["front"],
            label=f"best {info.metric_name} in that much memory",
        )
    for kind, mark in MARKS.items():
        points = [point for point in info.points if point.kind is kind]
        if not points:
            continue
        in_strip = kind in STRIP_KINDS
        heights = [
            STRIP_KINDS.index(kind) if in_strip else (point.metric or 0.0) for point in points
        ]
        (strip if in_strip else axes).scatter(
            [point.peak_bytes / info.unit_bytes for point in points],
            heights,
            label=f"{mark.label} ({len(points)})",
            **_matplotlib_marker(mark),
        )
    for method, mark in PAPER_MARKS.items():
        reference = [p for p in info.reference if p.method == method and p.peak_bytes]
        if reference:
            axes.scatter(
                [(point.peak_bytes or 0) / info.unit_bytes for point in reference],
                [point.metric for point in reference],
                label=mark.label,
                **_matplotlib_marker(mark),
            )


def _matplotlib_marker(mark: Mark) -> dict[str, Any]:
    colour = LIGHT[mark.colour]
    marker = {"marker": mark.matplotlib_marker, "s": mark.size**2 * 0.7}
    if mark.is_open:
        return marker | {"facecolors": "none", "edgecolors": colour, "zorder": 3}
    return marker | {"color": colour, "zorder": 3}


def _draw_budgets(info: ParetoInfo, all_axes: Iterable[Any]) -> None:
    for row, axes in enumerate(all_axes):
        for budget, level in zip(info.budgets_bytes, info.budget_levels, strict=True):
            x = budget / info.unit_bytes
            axes.axvline(x, color=LIGHT["muted"], linestyle="--", linewidth=1, zorder=1)
            if row == 0:
                axes.annotate(
                    exact_size(budget),
                    (x, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3 + 12 * level),
                    textcoords="offset points",
                    ha="center",
                    color=LIGHT["muted"],
                    weight="bold",
                )


def _label_axes(info: ParetoInfo, all_axes: Sequence[Any], title: str) -> None:
    axes, bottom = all_axes[0], all_axes[-1]
    title_pad = 18 + 12 * max(info.budget_levels, default=0)
    axes.set_title(title, loc="left", weight="bold", pad=title_pad)
    axes.set_ylabel(info.metric_name)
    axes.grid(axis="y", color=LIGHT["grid"], zorder=0)
    if info.range_metric is not None:
        axes.set_ylim(info.range_metric)
    if info.log_axis:
        axes.set_xscale("log")
        bottom.xaxis.set_major_locator(ticker.FixedLocator(info.log_ticks))
        bottom.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        bottom.xaxis.set_minor_locator(ticker.NullLocator())
    low, high = info.range_bytes
    axes.set_xlim(low / info.unit_bytes, high / info.unit_bytes)
    bottom.set_xlabel(
        f"peak_allocated_bytes ({info.unit}; 1 {info.unit} is {info.unit_bytes:,} bytes)"
    )
    if info.has_strip:
        bottom.set_ylim(len(STRIP_KINDS) - 0.4, -0.6)
        bottom.set_yticks([])
        bottom.set_ylabel("no result", rotation=0, ha="right", va="center")
    if not info.has_metrics:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial has a result", ha="center", transform=axes.transAxes)
    for each in all_axes:
        each.spines[["top", "right"]].set_visible(False)
