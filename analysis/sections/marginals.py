"""Metric and peak by the value of each of the project's four settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.draw.axes import range_of_equals
from analysis.draw.charts import Axis, Chart, Mark, Panel, Points
from analysis.numbers.columns import floats, is_candidate, is_drawable, metrics, metrics_of
from analysis.numbers.varied import is_text
from analysis.runs.run import Run
from analysis.sections.section import Block, Figure, Section, Text
from analysis.settings import MISSION, heading_of, is_used_by
from analysis.text import format_metric
from patchtrain.units import format_bytes

MOST_VALUES = 12
"""A setting with more values is cut into ranges."""

NUM_PARTS = 6
"""How many ranges, with about the same number of trials in each."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What the trials with one value, or one range of values, of a setting reach."""

    label: str
    num_trials: int
    median: float
    quartiles: tuple[float, float]
    best: float
    median_peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """Metric by the value of one setting, over all completed trials whose method reads it."""

    setting: str
    levels: tuple[Level, ...]


def marginals(run: Run) -> tuple[Marginal, ...]:
    """Return the marginal of each setting of `MISSION` that was varied."""
    counting = run.trials[is_candidate(run) & is_drawable(metrics(run))]
    found = (_marginal(counting, name) for name in MISSION)
    return tuple(each for each in found if len(each.levels) > 1)


def marginals_chart(found: tuple[Marginal, ...], metric_name: str) -> Chart:
    """Return a panel for each setting."""
    return Chart(
        name="marginals",
        title=f"{metric_name} by setting",
        panels=tuple(_panel(each, metric_name) for each in found),
        columns=2 if len(found) > 1 else 1,
    )


def _marginal(trials: pd.DataFrame, name: str) -> Marginal:
    methods = [each for each in trials["method"].unique() if is_used_by(_known(each), name)]
    reads = trials["method"].isin(methods) & trials[name].notna()
    parts = _parts(trials[reads.to_numpy(dtype=bool)], name)
    levels = [_level(label, rows) for label, rows in parts]
    return Marginal(setting=name, levels=tuple(levels))


def _known(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _parts(trials: pd.DataFrame, name: str) -> list[tuple[str, pd.DataFrame]]:
    values = sorted(trials[name].unique())
    if len(values) <= MOST_VALUES or is_text(trials[name]):
        return [(_value(value), trials[trials[name] == value]) for value in values]
    column = trials[name].to_numpy(dtype=np.float64)
    edges = np.unique(np.quantile(column, np.linspace(0, 1, NUM_PARTS + 1)))
    place = np.clip(np.searchsorted(edges, column, side="right") - 1, 0, len(edges) - 2)
    parts = [trials[place == index] for index in range(len(edges) - 1)]
    return [
        (_part_label(_value(rows[name].min()), _value(rows[name].max())), rows)
        for rows in parts
        if len(rows)
    ]


def _part_label(low: str, high: str) -> str:
    return low if low == high else f"{low}\N{EN DASH}{high}"


def _value(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _level(label: str, rows: pd.DataFrame) -> Level:
    metrics = metrics_of(rows)
    lower, median, upper = (float(each) for each in np.quantile(metrics, [0.25, 0.5, 0.75]))
    return Level(
        label=label,
        num_trials=len(rows),
        median=median,
        quartiles=(lower, upper),
        best=float(metrics.max()),
        median_peak_bytes=int(np.median(floats(rows, "peak_allocated_bytes"))),
    )


def _panel(marginal: Marginal, metric_name: str) -> Panel:
    levels = marginal.levels
    places = [float(index) for index in range(len(levels))]
    heading = heading_of(marginal.setting)
    hover = [
        f"{heading} {each.label}: {each.num_trials} trials\n"
        f"best {format_metric(each.best)}, median {format_metric(each.median)}\n"
        f"quartiles {format_metric(each.quartiles[0])} to {format_metric(each.quartiles[1])}\n"
        f"median peak {format_bytes(each.median_peak_bytes)}"
        for each in levels
    ]
    return Panel(
        x=Axis(
            title=heading,
            categories=tuple(each.label for each in levels),
            range=(-0.5, len(levels) - 0.5),
        ),
        y=Axis(
            title=metric_name,
            range=range_of_equals(
                [value for each in levels for value in (each.best, *each.quartiles)]
            ),
        ),
        series=(
            Points(
                label="median and quartiles",
                x=places,
                y=[each.median for each in levels],
                mark=Mark("square", "s", "other", 8),
                hover=hover,
                low=[each.quartiles[0] for each in levels],
                high=[each.quartiles[1] for each in levels],
            ),
            Points(
                label="best",
                x=places,
                y=[each.best for each in levels],
                mark=Mark("circle", "o", "front", 10),
                hover=hover,
            ),
        ),
    )


def _build(run: Run) -> list[Block]:
    chart = marginals_chart(marginals(run), run.metric_name)
    if chart.is_empty:
        return []
    note = (
        "Over the completed trials whose method reads the setting: the best, and the median with "
        "its quartiles. Other settings differ between the groups."
    )
    label = "Best and median metric by patch size, sampling rate, inner iterations and fusion"
    return [Figure(chart=chart, label=label), Text(text=note, look="note")]


SECTION = Section(name="marginals", heading="{metric} by setting", build=_build)
