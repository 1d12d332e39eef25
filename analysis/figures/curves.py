"""Learning curves: the metric of trials over their epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.charts import CYCLE, MARKS, Axis, Chart, Line, Panel
from analysis.columns import is_drawable, metrics_of
from analysis.load import RUN, Run
from analysis.selection import best_per_budget

MOST_CURVES = 200
"""More cannot be told apart; those that are best in a budget are always drawn."""


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
    labels: dict[tuple[str, str], str] = {}
    for answer in best_per_budget(run):
        if answer.trial is not None:
            key = (answer.trial[RUN], answer.trial["trial_id"])
            best = labels.get(key)
            labels[key] = (
                f"{best}, {answer.budget_text}" if best else f"best in {answer.budget_text}"
            )
    epochs = run.epochs
    known = epochs[np.asarray(is_drawable(metrics_of(epochs)))].dropna(subset=["trial_id", "epoch"])
    grouped = known.sort_values("epoch").groupby([RUN, "trial_id"], sort=True)
    keys: list[Any] = list(grouped.groups)
    others = [key for key in keys if key not in labels]
    num_drawn = max(0, MOST_CURVES - (len(keys) - len(others)))
    if len(others) > num_drawn:
        places = np.linspace(0, len(others) - 1, num_drawn).round().astype(int)
        others = [others[place] for place in places]
    # the marked ones last, so that they lie on top, in the order of their budgets
    drawn = [*others, *(key for key in labels if key in grouped.groups)]
    curves = []
    for key in drawn:
        rows = known.loc[grouped.groups[key]]
        curves.append(
            Curve(
                run=str(key[0]),
                trial_id=str(key[1]),
                epochs=tuple(int(epoch) for epoch in rows["epoch"]),
                metrics=tuple(float(metric) for metric in rows["metric"]),
                label=labels.get(key),
            )
        )
    return CurvesInfo(
        metric_name=run.metric_name, curves=tuple(curves), num_left_out=len(keys) - len(drawn)
    )


def curves_chart(info: CurvesInfo) -> Chart:
    """Return the curves as a chart."""
    lines, num_marked = [], 0
    for curve in info.curves:
        marked = curve.label is not None
        look = num_marked % len(CYCLE)
        num_marked += marked
        lines.append(
            Line(
                label=curve.label or curve.trial_id,
                x=curve.epochs,
                y=curve.metrics,
                colour=CYCLE[look] if marked else "faint",
                width=2.5 if marked else 1.2,
                mark=MARKS[look] if marked or len(curve.epochs) == 1 else None,
                hover=[
                    f"trial {curve.trial_id}\nepoch {epoch}: {metric:.4f}"
                    for epoch, metric in zip(curve.epochs, curve.metrics, strict=True)
                ],
                in_legend=marked,
            )
        )
    panel = Panel(
        x=Axis(title="epoch", whole=True), y=Axis(title=info.metric_name), series=tuple(lines)
    )
    return Chart(name="curves", title="Learning curves", panels=(panel,))
