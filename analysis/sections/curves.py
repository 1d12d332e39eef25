"""Learning curves: the metric of trials over their epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.draw.axes import range_of_equals
from analysis.draw.charts import CYCLE, MARKS, Axis, Chart, Line, Panel
from analysis.numbers.columns import is_drawable, metrics_of
from analysis.numbers.selection import best_per_budget
from analysis.runs.run import RUN, Run
from analysis.sections.section import Block, Figure, Section, Text, plural

Key = tuple[str, str]
"""Run and trial_id."""

MOST_CURVES = 200
"""More cannot be told apart; the best trials of each budget are always among them."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The metric of one trial over its epochs."""

    run: str
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
    num_left_out: int
    """Trials with epochs beyond `MOST_CURVES`."""


def curves_info(run: Run) -> CurvesInfo:
    """Return the metric of trials over their epochs, the best within each budget marked."""
    labels = _labels(run)
    epochs = run.epochs
    known = epochs[np.asarray(is_drawable(metrics_of(epochs)))].dropna(subset=["trial_id", "epoch"])
    grouped = known.sort_values("epoch").groupby([RUN, "trial_id"], sort=True)
    drawn = _drawn(list(grouped.groups), labels)
    return CurvesInfo(
        metric_name=run.metric_name,
        curves=tuple(_curve(key, known.loc[grouped.groups[key]], labels) for key in drawn),
        num_left_out=len(grouped.groups) - len(drawn),
    )


def _labels(run: Run) -> dict[Key, str]:
    """Return the legend text of each trial that is best within a budget, in order of budgets."""
    labels: dict[Key, str] = {}
    for answer in best_per_budget(run):
        if answer.trial is not None:
            key = (answer.trial[RUN], answer.trial["trial_id"])
            budgets = f"{labels[key]}, " if key in labels else "best in "
            labels[key] = budgets + answer.budget_text
    return labels


def _drawn(keys: list[Any], labels: Mapping[Key, str]) -> list[Any]:
    """Return the trials to draw: others evenly by name, then the marked ones, which lie on top."""
    marked = [key for key in labels if key in keys]
    others = [key for key in keys if key not in labels]
    most = max(0, MOST_CURVES - len(marked))
    if len(others) > most:
        places = np.linspace(0, len(others) - 1, most).round().astype(int)
        others = [others[place] for place in places]
    return [*others, *marked]


def _curve(key: Key, rows: pd.DataFrame, labels: Mapping[Key, str]) -> Curve:
    return Curve(
        run=str(key[0]),
        trial_id=str(key[1]),
        epochs=tuple(int(epoch) for epoch in rows["epoch"]),
        metrics=tuple(float(metric) for metric in rows["metric"]),
        label=labels.get(key),
    )


def curves_chart(info: CurvesInfo) -> Chart:
    """Return the curves as a chart."""
    marked = [curve for curve in info.curves if curve.label is not None]
    looks = {id(curve): place % len(CYCLE) for place, curve in enumerate(marked)}
    panel = Panel(
        x=Axis(title="epoch", whole=True),
        y=Axis(
            title=info.metric_name,
            range=range_of_equals([each for curve in info.curves for each in curve.metrics]),
        ),
        series=tuple(_line(curve, looks.get(id(curve))) for curve in info.curves),
    )
    return Chart(name="curves", title="Learning curves", panels=(panel,))


def _line(curve: Curve, look: int | None) -> Line:
    """Return a curve; `look` is the place of its colour and mark, None for a faint line."""
    has_mark = look is not None or len(curve.epochs) == 1
    return Line(
        label=curve.label or curve.trial_id,
        x=curve.epochs,
        y=curve.metrics,
        colour="faint" if look is None else CYCLE[look],
        width=1.2 if look is None else 2.5,
        mark=MARKS[look or 0] if has_mark else None,
        hover=[
            f"trial {curve.trial_id}\nepoch {epoch}: {metric:.4f}"
            for epoch, metric in zip(curve.epochs, curve.metrics, strict=True)
        ],
        in_legend=look is not None,
    )


def _build(run: Run) -> list[Block]:
    info = curves_info(run)
    if not info.curves:
        return [Text(text="No epoch with a metric is recorded.", look="muted")]
    note = "One line a trial; the best in each budget are coloured."
    if info.num_left_out:
        note += (
            f" {plural(info.num_left_out, 'more trial')} in epochs.parquet are not drawn: this "
            "shows the best and others picked evenly by name."
        )
    label = f"{info.metric_name} over epochs of {plural(len(info.curves), 'trial')}"
    return [Figure(chart=curves_chart(info), label=label), Text(text=note, look="note")]


SECTION = Section(name="curves", heading="Learning curves", build=_build)
