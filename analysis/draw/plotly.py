"""Draws panels of charts for the page: Plotly mappings whose colours are names (`@front`).

The page fills in the colours of its light or dark palette. Knows nothing of trials, files or HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from analysis.draw.charts import Axis, Bars, Chart, Line, Mark, Panel, Points, Rule

BAR_PX, MARGINS_PX = 26, 120
LEGEND_PX, TEXT_PX = 70, 56
MOST_WHOLE_TICKS = 12


def draw_plotly(chart: Chart) -> list[dict[str, Any]]:
    """Return a Plotly figure for each panel that has something to draw, colours by their names."""
    return [_draw_panel(panel) for panel in chart.panels if panel.series]


def plotly_text(text: str, most: int = 300) -> str:
    """Return `text` so that Plotly shows it as it is: one line, no markup, at most `most` long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return html.escape(line if len(line) <= most else line[: most - 1] + "…", quote=False)


def plotly_marker(mark: Mark) -> dict[str, Any]:
    """Return the look of a mark."""
    return {
        "symbol": mark.plotly_symbol,
        "size": mark.size,
        "color": f"@{mark.colour}",
        "line": {
            "color": f"@{mark.colour}" if mark.is_open else "@surface",
            "width": 2 if mark.is_open else 1,
        },
    }


def hover_text(lines: str) -> str:
    """Return what is shown on pointing: lines separated by newlines, without markup."""
    return "<br>".join(plotly_text(line) for line in lines.split("\n"))


def _draw_panel(panel: Panel) -> dict[str, Any]:
    traces = [_trace(series) for series in panel.series]
    layout = _layout(panel)
    num_named = sum(trace["showlegend"] for trace in traces)
    layout["showlegend"] = num_named > 1
    if panel.title:
        layout["title"] = {
            "text": plotly_text(panel.title),
            "font": {"size": 14},
            "x": 0.01,
            "y": 0.98,
            "yanchor": "top",
        }
    if panel.y.categories:
        for trace in traces:
            trace["y"] = list(range(len(panel.y.categories)))
        _fit_categories(panel, layout)
    return {"data": traces, "layout": layout}


def _layout(panel: Panel) -> dict[str, Any]:
    x_axis = _axis(panel.x)
    if panel.x.whole and _longest(panel) <= MOST_WHOLE_TICKS:
        x_axis["dtick"] = 1
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
        "barmode": "stack",
        "margin": {"l": 48, "r": 16, "t": 34 if panel.title else 12, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "dragmode": False,
        "xaxis": x_axis,
        "yaxis": _axis(panel.y),
        "shapes": [_rule(rule) for rule in panel.rules],
    }


def _fit_categories(panel: Panel, layout: dict[str, Any]) -> None:
    """Make room for one bar a category, texts beside the bars, and a legend below the axis."""
    num_bars = len(panel.y.categories)
    layout["yaxis"] |= {"range": [num_bars - 0.4, -0.6], "showgrid": False}
    layout["height"] = MARGINS_PX + BAR_PX * max(3, num_bars)
    if any(isinstance(series, Bars) and series.texts for series in panel.series):
        layout["margin"]["r"] = TEXT_PX
    if layout["showlegend"]:
        layout["height"] += LEGEND_PX
        layout["margin"]["b"] += LEGEND_PX
        # in the whole figure: on a phone it needs more rows than fit beside the axis title
        layout["legend"] |= {"xref": "container", "yref": "container", "x": 0.02, "y": 0}


def _trace(series: Points | Line | Bars) -> dict[str, Any]:
    if isinstance(series, Points):
        return _points(series)
    return _line(series) if isinstance(series, Line) else _bars(series)


def _longest(panel: Panel) -> float:
    return max((x for s in panel.series if not isinstance(s, Bars) for x in s.x), default=0)


def _axis(axis: Axis) -> dict[str, Any]:
    look: dict[str, Any] = {
        "title": {"text": plotly_text(axis.title), "standoff": 8},
        "gridcolor": "@grid",
        "linecolor": "@grid",
        "zeroline": False,
        "automargin": True,
        "type": "log" if axis.log else "linear",
    }
    if axis.range is not None:
        look["range"] = [math.log10(end) for end in axis.range] if axis.log else list(axis.range)
    if axis.ticks:
        look |= {"tickvals": list(axis.ticks), "ticktext": [f"{tick:g}" for tick in axis.ticks]}
    if axis.categories:
        look |= {
            "tickvals": list(range(len(axis.categories))),
            "ticktext": [plotly_text(each, 34) for each in axis.categories],
        }
    if axis.whole:
        look["tickformat"] = "d"
    return look


def _named(series: Points | Line | Bars, trace: dict[str, Any]) -> dict[str, Any]:
    trace |= {"name": plotly_text(series.label), "showlegend": series.in_legend}
    if series.hover:
        trace |= {
            "text": [hover_text(each) for each in series.hover],
            "hovertemplate": "%{text}<extra></extra>",
        }
    else:
        trace["hoverinfo"] = "skip"
    return trace


def _points(series: Points) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": list(series.x),
        "y": list(series.y),
        "marker": plotly_marker(series.mark),
    }
    if series.low:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": _distances(series.y, series.high),
            "arrayminus": _distances(series.y, series.low),
            "color": f"@{series.mark.colour}",
            "thickness": 1.2,
        }
    return _named(series, trace)


def _distances(values: Sequence[float], ends: Sequence[float | None]) -> list[float]:
    return [0 if e is None else abs(e - v) for v, e in zip(values, ends, strict=True)]


def _line(series: Line) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if series.mark else "lines",
        "x": list(series.x),
        "y": list(series.y),
        "line": {
            "color": f"@{series.colour}",
            "width": series.width,
            "shape": "hv" if series.is_stepped else "linear",
            "dash": "dot" if series.is_dotted else "solid",
        },
    }
    if series.mark:
        trace["marker"] = {"symbol": series.mark.plotly_symbol, "size": 7}
    return _named(series, trace)


def _bars(series: Bars) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": f"@{series.colour}"}
    if series.hatch[0]:
        marker["pattern"] = {
            "shape": series.hatch[0],
            "fillmode": "overlay",
            "fgcolor": "@surface",
            "size": 6,
            "solidity": 0.25,
        }
    trace = _named(
        series,
        {"type": "bar", "orientation": "h", "x": list(series.lengths), "marker": marker},
    )
    if series.hover:
        # Plotly writes the text of a bar beside it, so the hover text goes into customdata
        trace |= {"customdata": trace.pop("text"), "hovertemplate": "%{customdata}<extra></extra>"}
    if series.texts:
        trace |= {
            "text": [plotly_text(each) for each in series.texts],
            "textposition": "outside",
            "cliponaxis": False,
        }
    return trace


def _rule(rule: Rule) -> dict[str, Any]:
    along, across = ("x", "y") if rule.vertical else ("y", "x")
    return {
        "type": "line",
        f"{along}0": rule.at,
        f"{along}1": rule.at,
        f"{across}ref": "paper",
        f"{across}0": 0,
        f"{across}1": 1,
        "layer": "below",
        "line": {"color": "@muted", "width": 1.5, "dash": "dash"},
    }
