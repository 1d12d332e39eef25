"""What holds the memory of the front's trials at their peak, and which setting lowers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.draw.charts import CYCLE, HATCHES, Axis, Bars, Chart, Panel
from analysis.draw.tables import Cell, Column, Table, bytes_cell, metric_cell, text_column
from analysis.numbers.columns import is_on_front
from analysis.numbers.selection import best_per_budget
from analysis.runs.run import RUN, Run, once
from analysis.sections.cells import run_cells, run_columns
from analysis.sections.section import Block, Figure, Listing, Section
from analysis.settings import input_of
from analysis.text import UNKNOWN, format_metric, unit_of
from patchtrain.units import format_bytes

PARTS: Mapping[str, str] = {
    "parameters": "peak_parameters_bytes",
    "gradients": "peak_gradients_bytes",
    "optimizer": "peak_optimizer_bytes",
    "activations": "peak_activations_bytes",
    "latent block": "peak_latent_bytes",
    "input": "peak_input_bytes",
}
"""Part of the peak -> column. Where the meter ran they add up to `peak_allocated_bytes`."""

REST = "other"
"""The part of the peak that is in none of the others, such as libraries' workspace."""

MOST_TRIALS = 12

_ADVICE: Mapping[str, str] = {
    "parameters": "a smaller backbone",
    "gradients": "a smaller backbone",
    "optimizer": "a smaller backbone",
    "latent block": "a larger patch_size or a smaller image_size",
    "input": "a smaller batch_size",
    REST: "a smaller patch_microbatch",
}
_ADVICE_OF_ACTIVATIONS: Mapping[str, str] = {
    "patches": "patch_microbatch: auto, a lower sampling_rate, a smaller patch_size or bf16",
    "image": "a patch method, a smaller image_size or bf16",
    "downsampled": "a smaller patch_size, a smaller batch_size or bf16",
}


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What one trial held at its peak."""

    run: str
    trial_id: str
    metric: float
    peak_bytes: int
    phase: str | None
    """The part of the step in which the peak was reached."""
    parts_bytes: Mapping[str, int]
    """Part, as in `PARTS` and `REST` -> size; they add up to `peak_bytes`."""
    advice: str
    """The largest part and what lowers it."""


@once
def attributions(run: Run) -> tuple[Attribution, ...]:
    """Return what holds the memory of the front's trials, smallest peak first.

    At most `MOST_TRIALS`: those that are best in a budget, and others evenly along the front.
    Trials without a recorded breakdown are left out.
    """
    front = run.rows_where(is_on_front(run))
    rows = [row for row in front if all(row[name] is not None for name in PARTS.values())]
    rows.sort(key=lambda row: (row["peak_allocated_bytes"], row["trial_id"]))
    best = {(a.trial[RUN], a.trial["trial_id"]) for a in best_per_budget(run) if a.trial}
    return tuple(_attribution(row) for row in _thinned(rows, best))


def _thinned(rows: list[dict[str, Any]], best: set[tuple[str, str]]) -> list[dict[str, Any]]:
    if len(rows) <= MOST_TRIALS:
        return rows
    keep = [i for i, row in enumerate(rows) if (row[RUN], row["trial_id"]) in best][:MOST_TRIALS]
    for index in np.linspace(0, len(rows) - 1, MOST_TRIALS).round().astype(int).tolist():
        if len(keep) < MOST_TRIALS and index not in keep:
            keep.append(index)
    return [rows[index] for index in sorted(keep)]


def _attribution(row: Mapping[str, Any]) -> Attribution:
    parts = {name: int(row[column]) for name, column in PARTS.items()}
    parts[REST] = max(0, int(row["peak_allocated_bytes"]) - sum(parts.values()))
    return Attribution(
        run=row[RUN],
        trial_id=row["trial_id"],
        metric=row["metric"],
        peak_bytes=int(row["peak_allocated_bytes"]),
        phase=row["peak_phase"],
        parts_bytes=parts,
        advice=_advice(row["method"], parts),
    )


def _advice(method: str | None, parts: Mapping[str, int]) -> str:
    largest = max(parts, key=lambda name: parts[name])
    share = parts[largest] / max(1, sum(parts.values()))
    lower = _ADVICE.get(largest)
    if lower is None:
        lower = _ADVICE_OF_ACTIVATIONS[input_of(method)]
    return f"{largest} {share:.0%}: {lower}"


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


def memory_table(found: Sequence[Attribution], metric_name: str) -> Table:
    """Return what holds the memory of the front's trials."""
    several = len({each.run for each in found}) > 1
    columns = (
        *run_columns(several),
        text_column("Trial"),
        text_column("Most of it, and what lowers it"),
        Column(metric_name),
        Column("Peak"),
        *(Column(part.capitalize()) for part in (*PARTS, REST)),
        text_column("Reached in"),
    )
    rows = tuple(
        (
            *run_cells(each.run, several),
            Cell(each.trial_id),
            Cell(each.advice),
            metric_cell(each.metric),
            bytes_cell(each.peak_bytes),
            *map(bytes_cell, each.parts_bytes.values()),
            Cell(each.phase or UNKNOWN),
        )
        for each in found
    )
    return Table(name="memory", title="What holds the memory", columns=columns, rows=rows)


def _build(run: Run) -> list[Block]:
    found = attributions(run)
    label = "Parts of the peak of the front's trials; the numbers are in the table below"
    return [
        Figure(chart=memory_chart(found, run.metric_name), label=label),
        Listing(table=memory_table(found, run.metric_name)),
    ]


SECTION = Section(name="memory", heading="What holds the memory", build=_build)
