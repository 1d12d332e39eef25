"""What holds the memory of the front's trials: stacked bars."""

from __future__ import annotations

from analysis.attribution import PARTS, REST, Attribution
from analysis.charts import CYCLE, HATCHES, Axis, Bars, Chart, Panel
from analysis.figures.pareto import unit_of
from analysis.text import format_metric
from patchtrain.units import format_bytes


def memory_chart(found: tuple[Attribution, ...], metric_name: str) -> Chart:
    """Return a bar a trial, a piece for each part of its peak."""
    parts = [*PARTS, *([REST] if any(each.parts_bytes[REST] for each in found) else [])]
    several = len({each.run for each in found}) > 1
    unit, unit_bytes = unit_of(max((each.peak_bytes for each in found), default=0))
    bars = tuple(
        Bars(
            label=part,
            lengths=[each.parts_bytes[part] / unit_bytes for each in found],
            colour=CYCLE[index % len(CYCLE)],
            hatch=HATCHES[index],
            hover=[
                f"trial {each.trial_id}\n{part} {format_bytes(each.parts_bytes[part])} of "
                f"{format_bytes(each.peak_bytes)}"
                for each in found
            ],
        )
        for index, part in enumerate(parts)
    )
    panel = Panel(
        x=Axis(title=f"peak_allocated_bytes ({unit})"),
        y=Axis(
            title="",
            categories=tuple(
                (f"{each.run} " if several else "")
                + f"{each.trial_id}: {format_metric(each.metric)}"
                for each in found
            ),
        ),
        series=bars if found else (),
    )
    return Chart(
        name="memory", title=f"What holds the memory (trial: {metric_name})", panels=(panel,)
    )
