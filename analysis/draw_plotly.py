"""Draws figures for the page: Plotly mappings whose colours are names (`@front`).

The page puts in the colours of its light or dark palette. Knows nothing of runs, files or HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from analysis.figures import (
    MARKS,
    PAPER_MARKS,
    STRIP_KINDS,
    Curve,
    CurvesInfo,
    Kind,
    Mark,
    ParetoInfo,
    ParetoPoint,
)
from analysis.reference import ReferencePoint
from analysis.selection import exact_size, format_metric
from patchtrain.units import format_bytes

CURVE_COLOURS = ("front", "paper", "stopped", "over", "predicted", "other")
CURVE_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


def plotly_text(text: str, most: int = 300) -> str:
    """Return `text` so that Plotly shows it as it is: one line, no markup, at most `most` long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return html.escape(line if len(line) <= most else line[: most - 1] + "…", quote=False)


def draw_pareto_plotly(info: ParetoInfo) -> dict[str, Any]:
    """Return the Pareto plot as a Plotly figure with colour names in place of colours."""
    traces = [_front_trace(info)] if info.step_peaks_bytes else []
    for kind, mark in MARKS.items():
        points = [point for point in info.points if point.kind is kind]
        if points:
            traces.append(_points_trace(info, points, mark))
    for method, mark in PAPER_MARKS.items():
        reference = [point for point in info.reference if point.method == method]
        if reference:
            traces.append(_reference_trace(info, reference, mark))
    return {"data": traces, "layout": _pareto_layout(info)}


def _front_trace(info: ParetoInfo) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"best {plotly_text(info.metric_name)} in that much memory",
        "x": [peak / info.unit_bytes for peak in info.step_peaks_bytes],
        "y": list(info.step_metrics),
        "line": {"color": "@front", "width": 2},
        "hoverinfo": "skip",
    }


def _points_trace(info: ParetoInfo, points: Sequence[ParetoPoint], mark: Mark) -> dict[str, Any]:
    kind = points[0].kind
    in_strip = kind in STRIP_KINDS
    heights = (
        [STRIP_KINDS.index(kind)] * len(points) if in_strip else [point.metric for point in points]
    )
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{mark.label} ({len(points)})",
        "x": [point.peak_bytes / info.unit_bytes for point in points],
        "y": heights,
        "yaxis": "y2" if in_strip else "y",
        "marker": _plotly_marker(mark),
        "text": [_hover(info, point) for point in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(info: ParetoInfo, point: ParetoPoint) -> str:
    kind_of_peak = "predicted peak" if point.kind is Kind.PREDICTED else "peak"
    numbers = f"{kind_of_peak} {format_bytes(point.peak_bytes)}"
    if point.metric is not None:
        numbers = f"{plotly_text(info.metric_name)} {format_metric(point.metric)}, {numbers}"
    settings = plotly_text(point.description).replace(", ", "<br>")
    mark = MARKS[point.kind].label
    return f"<b>{numbers}</b><br>{settings}<br>trial {plotly_text(point.trial_id, 60)}: {mark}"


def _reference_trace(
    info: ParetoInfo, points: Sequence[ReferencePoint], mark: Mark
) -> dict[str, Any]:
    known = [(point, point.peak_bytes) for point in points if point.peak_bytes is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": mark.label,
        "x": [peak / info.unit_bytes for _, peak in known],
        "y": [point.metric for point, _ in known],
        "marker": _plotly_marker(mark),
        "text": [
            f"<b>{point.metric_name} {format_metric(point.metric)}, peak {format_bytes(peak)}</b>"
            f"<br>{point.method}<br>{point.backbone}<br>image {point.image_size} px"
            f"<br>patch {point.patch_size} px<br>the paper, Table {point.table}"
            for point, peak in known
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _plotly_marker(mark: Mark) -> dict[str, Any]:
    return {
        "symbol": mark.plotly_symbol,
        "size": mark.size,
        "color": f"@{mark.colour}",
        "line": {
            "color": f"@{mark.colour}" if mark.is_open else "@surface",
            "width": 2 if mark.is_open else 1,
        },
    }


def _pareto_layout(info: ParetoInfo) -> dict[str, Any]:
    low, high = (end / info.unit_bytes for end in info.range_bytes)
    label_rows = max(info.budget_levels, default=0) + 1
    layout = _base_layout(top_px=18 + 16 * label_rows)
    layout["xaxis"] |= {
        "title": {"text": f"peak_allocated_bytes ({info.unit})", "standoff": 8},
        "type": "log" if info.log_axis else "linear",
        "range": [math.log10(low), math.log10(high)] if info.log_axis else [low, high],
        "anchor": "y2" if info.has_strip else "y",
    }
    layout["yaxis"] |= {
        "title": {"text": plotly_text(info.metric_name)},
        "domain": [0.24 if info.has_strip else 0, 1],
    }
    if info.log_axis:
        layout["xaxis"] |= {
            "tickvals": list(info.log_ticks),
            "ticktext": [f"{tick:g}" for tick in info.log_ticks],
        }
    if info.has_strip:
        layout["yaxis2"] = _strip_axis()
    layout["xaxis"]["showgrid"] = False  # budgets are the only vertical lines
    if info.range_metric is not None:
        layout["yaxis"]["range"] = list(info.range_metric)
    if not info.has_metrics:
        layout["yaxis"] |= {"range": [0, 1], "showticklabels": False}
    layout["shapes"] = [_budget_line(info, budget) for budget in info.budgets_bytes]
    layout["annotations"] = [
        *map(_budget_label, *_label_places(info)),
        *_notes(info),
    ]
    return layout


def _base_layout(top_px: int) -> dict[str, Any]:
    axis = {
        "gridcolor": "@grid",
        "linecolor": "@grid",
        "zeroline": False,
        "automargin": True,
    }
    return {
        "paper_bgcolor": "@surface",
        "plot_bgcolor": "@surface",
        "font": {"color": "@text", "family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {
            "bgcolor": "@surface",
            "bordercolor": "@muted",
            "font": {"color": "@text"},
            "align": "left",
        },
        "hovermode": "closest",
        "margin": {"l": 48, "r": 12, "t": top_px, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        "showlegend": True,
        "dragmode": False,
        "xaxis": dict(axis),
        "yaxis": dict(axis),
    }


def _strip_axis() -> dict[str, Any]:
    return {
        "domain": [0, 0.15],
        "range": [len(STRIP_KINDS) - 0.4, -0.6],
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }


def _budget_line(info: ParetoInfo, budget_bytes: int) -> dict[str, Any]:
    x = budget_bytes / info.unit_bytes
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": "@muted", "width": 1.5, "dash": "dash"},
    }


def _label_places(info: ParetoInfo) -> tuple[list[float], list[int], list[str]]:
    """Return the labels' places (annotations on a log axis stand at the logarithm), rows, texts."""
    places = [budget / info.unit_bytes for budget in info.budgets_bytes]
    if info.log_axis:
        places = [math.log10(place) for place in places]
    return places, list(info.budget_levels), [exact_size(b) for b in info.budgets_bytes]


def _budget_label(x: float, level: int, text: str) -> dict[str, Any]:
    return {
        "x": x,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "yshift": 16 * level,
        "text": f"<b>{text}</b>",
        "showarrow": False,
        "font": {"color": "@muted", "size": 12},
    }


def _notes(info: ParetoInfo) -> list[dict[str, Any]]:
    notes = []
    if not info.has_metrics:
        notes.append({"text": "no trial has a result", "y": 0.6, "x": 0.5, "xanchor": "center"})
    if info.has_strip:
        notes.append({"text": "no result", "y": 0.15, "x": 0, "xanchor": "left"})
    common = {"xref": "paper", "yref": "paper", "yanchor": "bottom", "showarrow": False}
    return [note | common | {"font": {"color": "@muted", "size": 12}} for note in notes]


def draw_curves_plotly(info: CurvesInfo) -> dict[str, Any]:
    """Return the learning curves as a Plotly figure with colour names in place of colours."""
    looks = zip(cycle(CURVE_COLOURS), cycle(CURVE_SYMBOLS), strict=False)
    traces = [
        _curve_trace(curve) if curve.label is None else _curve_trace(curve, *next(looks))
        for curve in info.curves
    ]
    layout = _base_layout(top_px=12)
    layout["xaxis"] |= {"title": {"text": "epoch", "standoff": 8}, "tickformat": "d"}
    if all(max(curve.epochs) <= 10 for curve in info.curves):
        layout["xaxis"]["dtick"] = 1
    layout["yaxis"] |= {"title": {"text": plotly_text(info.metric_name)}}
    return {"data": traces, "layout": layout}


def _curve_trace(curve: Curve, colour: str = "faint", symbol: str = "circle") -> dict[str, Any]:
    marked = curve.label is not None
    return {
        "type": "scatter",
        "mode": "lines+markers" if marked or len(curve.epochs) == 1 else "lines",
        "name": plotly_text(curve.label or curve.trial_id),
        "showlegend": marked,
        "x": list(curve.epochs),
        "y": list(curve.metrics),
        "line": {"color": f"@{colour}", "width": 2.5 if marked else 1.2},
        "marker": {"symbol": symbol, "size": 7},
        "text": [f"trial {plotly_text(curve.trial_id, 60)}"] * len(curve.epochs),
        "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
    }
