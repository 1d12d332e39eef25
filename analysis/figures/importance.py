"""Importance of each setting: bars for metric, peak and feasibility."""

from __future__ import annotations

from analysis.charts import CYCLE, Axis, Bars, Chart, Panel
from analysis.importance import Importance
from analysis.settings import heading_of


def importance_chart(found: tuple[Importance, ...], metric_name: str) -> Chart:
    """Return a panel for each target that has an answer."""
    titles = {"metric": metric_name, "peak": "peak memory", "feasibility": "fitting the budget"}
    panels = [
        Panel(
            title=f"for {titles[each.target]}",
            x=Axis(title="importance", range=(0, 1.15)),
            y=Axis(title="", categories=tuple(heading_of(name) for name in each.shares)),
            series=(
                Bars(
                    label=each.target,
                    lengths=list(each.shares.values()),
                    colour=CYCLE[index],
                    hover=[
                        f"{heading_of(name)}: {share:.1%}\n{each.evaluator}, "
                        f"{each.num_trials} trials"
                        for name, share in each.shares.items()
                    ],
                    texts=[f"{share:.0%}" for share in each.shares.values()],
                    in_legend=False,
                ),
            ),
        )
        for index, each in enumerate(found)
        if each.shares
    ]
    return Chart(
        name="importance",
        title="What each setting matters for",
        panels=tuple(panels),
        columns=max(1, len(panels)),
    )
