"""Charts and tables of a run's report by their names, empty ones included."""

from __future__ import annotations

from analysis.draw.charts import Chart
from analysis.draw.tables import Table
from analysis.runs.run import Run
from analysis.sections import load_sections
from analysis.sections.section import Block, Figure, Listing, Still


def charts_of(run: Run) -> dict[str, Chart]:
    return {b.chart.name: b.chart for b in _blocks(run) if isinstance(b, Figure | Still)}


def tables_of(run: Run) -> dict[str, Table]:
    return {b.table.name: b.table for b in _blocks(run) if isinstance(b, Listing)}


def _blocks(run: Run) -> list[Block]:
    return [block for section in load_sections() for block in section.part(run).blocks]
