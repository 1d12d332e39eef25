"""Every figure and table of a run as files. Knows nothing of the command line."""

from __future__ import annotations

import io

from analysis.draw_matplotlib import draw_matplotlib
from analysis.files import figure_bytes
from analysis.findings import Findings, title_of, trials_with_front
from analysis.load import Run


def exported(run: Run) -> dict[str, bytes]:
    """Return file name -> content; figures and tables with nothing in them are left out."""
    findings = Findings(run)
    contents: dict[str, bytes] = {}
    for name, chart in findings.charts().items():
        if chart.is_empty and name != "pareto":
            continue
        figure = draw_matplotlib(chart, title_of(run) if name == "pareto" else None)
        contents[f"{name}.png"] = figure_bytes(figure, "png")
        contents[f"{name}.svg"] = figure_bytes(figure, "svg")
    for name, table in findings.tables().items():
        if table.rows:
            contents[f"{name}.csv"] = table.to_csv().encode()
            contents[f"{name}.md"] = table.to_markdown().encode()
            contents[f"{name}.tex"] = table.to_latex().encode()
    trials = trials_with_front(run)
    buffer = io.BytesIO()
    trials.to_parquet(buffer, index=False)
    contents["trials.parquet"] = buffer.getvalue()
    contents["trials.csv"] = trials.to_csv(index=False).encode()
    return contents
