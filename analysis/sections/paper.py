"""The paper's results on the same data: the table, and the points beside the run's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.draw.charts import Mark
from analysis.draw.tables import (
    Cell,
    Column,
    Table,
    bytes_cell,
    metric_cell,
    plain_cell,
    text_column,
)
from analysis.reference import ReferencePoint, load_reference
from analysis.runs.run import Run, once
from analysis.sections.section import Block, Listing, Section
from analysis.text import UNKNOWN, format_metric
from patchtrain.units import format_bytes

PAPER_MARKS: Mapping[str | None, tuple[str, Mark]] = {
    "local_global": ("paper: local_global", Mark("star", "*", "paper", 13)),
    "patchgd": ("paper: patchgd", Mark("hexagon-open", "h", "paper", 11)),
    "full": ("paper: full", Mark("pentagon-open", "p", "paper", 11)),
    "downsampled": ("paper: downsampled", Mark("triangle-down-open", "v", "paper", 11)),
    "tiled": ("paper: tiled", Mark("square-open", "s", "paper", 10)),
    None: ("paper: other networks", Mark("x-thin-open", "x", "paper", 10)),
}


@once
def comparable_reference(run: Run) -> tuple[ReferencePoint, ...]:
    """Return the paper's points that may stand beside the run's: same data, same metric."""
    if run.data_is_sample:
        return ()
    return tuple(
        point
        for point in load_reference(run.dataset)
        if run.metric_name in point.metrics and point.peak_bytes is not None
    )


def reference_text(point: ReferencePoint, metric_name: str) -> str:
    """Return what a point of the paper says when it is pointed at."""
    lines = [
        f"{metric_name} {format_metric(point.metrics[metric_name])}, "
        f"peak {format_bytes(point.peak_bytes or 0)}",
        point.method or point.label,
        *([point.backbone] if point.backbone else []),
        point.size_text,
        *([f"patch {point.patch_size} px"] if point.patch_size else []),
        point.source,
    ]
    return "\n".join(lines)


def mark_name(point: ReferencePoint) -> str | None:
    """Return the key of `PAPER_MARKS` of a point of the paper."""
    return point.method if point.method in PAPER_MARKS else None


def paper_table(points: Sequence[ReferencePoint]) -> Table:
    """Return what the paper published on the same data."""
    metrics = list(dict.fromkeys(name for point in points for name in point.metrics))
    return Table(
        name="paper",
        title="The paper's results",
        columns=(
            *(text_column(heading) for heading in ("Row", "Method", "Backbone", "Image")),
            Column("Patch px"),
            Column("Sampling rate"),
            Column("Inner iter."),
            Column("Peak"),
            *(Column(name) for name in metrics),
            text_column("Source"),
        ),
        rows=tuple(_row(point, metrics) for point in points),
    )


def _row(point: ReferencePoint, metrics: Sequence[str]) -> tuple[Cell, ...]:
    return (
        Cell(point.label),
        Cell(point.method or UNKNOWN),
        Cell(point.backbone or UNKNOWN),
        Cell(point.size_text.removeprefix("image ")),
        plain_cell(point.patch_size),
        plain_cell(point.sampling_rate),
        plain_cell(point.inner_iterations),
        bytes_cell(point.peak_bytes),
        *(metric_cell(point.metrics.get(name)) for name in metrics),
        Cell(point.source),
    )


def _build(run: Run) -> list[Block]:
    return [Listing(table=paper_table(comparable_reference(run)))]


SECTION = Section(name="paper", heading="The paper's results", build=_build)
