"""Every figure and table of a run as files. Knows nothing of the command line."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd

from analysis.draw.matplotlib import draw_matplotlib
from analysis.numbers.columns import is_on_front
from analysis.page.files import figure_bytes
from analysis.runs.run import RUN, Run
from analysis.sections import load_sections
from analysis.sections.section import Part, Section, Still


def exported(run: Run, sections: Sequence[Section] = ()) -> dict[str, bytes]:
    """Return file name -> content; figures and tables with nothing in them are left out.

    Args:
        run: what is exported.
        sections: the parts whose figures and tables are exported; by default all.
    """
    contents: dict[str, bytes] = {}
    for section in sections or load_sections():
        part = section.part(run)
        contents |= _figures(part) | _tables(part)
    trials = trials_with_front(run)
    buffer = io.BytesIO()
    trials.to_parquet(buffer, index=False)
    contents["trials.parquet"] = buffer.getvalue()
    contents["trials.csv"] = trials.to_csv(index=False).encode()
    return contents


def _figures(part: Part) -> dict[str, bytes]:
    contents = {}
    for block in part.charts:
        figure = draw_matplotlib(block.chart, block.title if isinstance(block, Still) else None)
        for kind in ("png", "svg"):
            contents[f"{block.chart.name}.{kind}"] = figure_bytes(figure, kind)
    return contents


def _tables(part: Part) -> dict[str, bytes]:
    contents = {}
    for table in part.tables:
        contents[f"{table.name}.csv"] = table.to_csv().encode()
        contents[f"{table.name}.md"] = table.to_markdown().encode()
        contents[f"{table.name}.tex"] = table.to_latex().encode()
    return contents


def trials_with_front(run: Run) -> pd.DataFrame:
    """Return all columns of the trials and `on_front`; `run` only where there are several."""
    trials = run.trials.assign(on_front=is_on_front(run))
    return trials if len(run.names) > 1 else trials.drop(columns=[RUN])
