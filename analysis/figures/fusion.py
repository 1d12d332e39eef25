"""Concatenating the global feature against adding it, pair by pair."""

from __future__ import annotations

from analysis.charts import Axis, Chart, Mark, Panel, Points, Rule
from analysis.figures.pareto import unit_of
from analysis.pairs import Fusion
from patchtrain.units import format_bytes


def fusion_chart(found: Fusion, metric_name: str) -> Chart:
    """Return what concat gains in metric against what it adds to the peak, a point a pair."""
    unit, unit_bytes = unit_of(max((abs(pair.added_bytes) for pair in found.pairs), default=0))
    points = Points(
        label="a pair of trials",
        x=[pair.added_bytes / unit_bytes for pair in found.pairs],
        y=[pair.metric_gain for pair in found.pairs],
        mark=Mark("circle", "o", "front", 9),
        hover=[
            f"{pair.add} (add) and {pair.concat} (concat)\n"
            f"{metric_name} {pair.metric_gain:+.4f}\n"
            f"peak {format_bytes(pair.peak_bytes[0])} and {format_bytes(pair.peak_bytes[1])}"
            for pair in found.pairs
        ],
    )
    panel = Panel(
        x=Axis(title=f"peak of concat less peak of add ({unit})"),
        y=Axis(title=f"{metric_name} of concat less add"),
        series=(points,) if found.pairs else (),
        rules=(Rule(at=0, vertical=True), Rule(at=0, vertical=False)),
    )
    return Chart(name="fusion", title="concat against add", panels=(panel,))
