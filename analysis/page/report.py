"""Makes the report of a run: one self-contained HTML page, still plots and a CSV.

Renders everything before it writes anything. Knows nothing of the command line, nor of what the
sections say.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.draw.charts import DARK, LIGHT
from analysis.draw.matplotlib import draw_matplotlib
from analysis.draw.plotly import draw_plotly
from analysis.page.explorer import explorer_data
from analysis.page.export import trials_with_front
from analysis.page.files import figure_bytes, write_files
from analysis.runs.run import Run
from analysis.sections import load_sections
from analysis.sections.section import Block, Figure, Part, Section, Still
from analysis.text import finite, status_text

PAGE, PNG, SVG, CSV = OUTPUTS = ("report.html", "pareto.png", "pareto.svg", "trials.csv")

SCRIPTS = (
    "start.js",
    "texts.js",
    "trials.js",
    "colours.js",
    "pareto_traces.js",
    "pareto_plot.js",
    "answer.js",
    "controls.js",
    "table.js",
    "view.js",
    "main.js",
)
"""Files in `assets/script`, joined into one script in this order."""


def write_report(
    run: Run, out: Path, *, watch_s: float | None = None, sections: Sequence[Section] = ()
) -> Path:
    """Write report.html, pareto.png, pareto.svg and trials.csv into `out`; return the page.

    Args:
        run: what is reported.
        out: folder, made if need be.
        watch_s: how often the page loads itself again; never by default.
        sections: the parts of the page; by default all.

    Raises:
        InputError: `out` cannot be written.
    """
    parts = [section.part(run) for section in sections or load_sections()]
    contents = {f"{name}.{kind}": still for (name, kind), still in _stills(parts).items()}
    contents[CSV] = trials_with_front(run).to_csv(index=False).encode()
    contents[PAGE] = _render(run, parts, contents, watch_s).encode()
    write_files(out, contents)
    return out / PAGE


def _stills(parts: Sequence[Part]) -> dict[tuple[str, str], bytes]:
    """Return (name, format) -> picture of every chart that is shown where scripts do not run."""
    stills = {}
    for block in (block for part in parts for block in part.charts if isinstance(block, Still)):
        figure = draw_matplotlib(block.chart, block.title)
        for kind in ("png", "svg"):
            stills[block.chart.name, kind] = figure_bytes(figure, kind)
    return stills


def _render(
    run: Run, parts: Sequence[Part], stills: Mapping[str, bytes], watch_s: float | None
) -> str:
    from plotly.offline import get_plotlyjs

    shown = [part for part in parts if part.shown]
    blocks = [block for part in shown for block in part.shown]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            parts=shown,
            counts=status_counts(run),
            data={
                "palettes": {"light": dict(LIGHT), "dark": dict(DARK)},
                "explorer-data": finite(explorer_data(run)),
                "figures": finite(_drawn(blocks)),
                "watch": watch_s,
            },
            light=_variables(LIGHT),
            dark=_variables(DARK),
            style=_asset("style.css"),
            script=joined_script(),
            plotly_js=get_plotlyjs(),
            pictures={name: base64.b64encode(each).decode() for name, each in stills.items()},
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.page", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["status"] = status_text
    return environment


def _drawn(blocks: Sequence[Block]) -> dict[str, Any]:
    """Return name -> panels of every chart that the page's script draws."""
    figures = (block.chart for block in blocks if isinstance(block, Figure))
    return {chart.name: draw_plotly(chart) for chart in figures}


def joined_script() -> str:
    """Return the page's own script: the files of `SCRIPTS` inside one function."""
    content = "\n".join(_asset(f"script/{name}") for name in SCRIPTS)
    return f'(function () {{\n"use strict";\n\n{content}}})();\n'


def _asset(name: str) -> str:
    return (files("analysis.page") / "assets" / name).read_text(encoding="utf-8")


def _variables(palette: Mapping[str, str]) -> Markup:
    return Markup(" ".join(f"--{name}: {colour};" for name, colour in palette.items()))


def status_counts(run: Run) -> dict[str, int]:
    """Return how many trials ended in each status, the most frequent first."""
    return dict(Counter(run.trials["status"].tolist()).most_common())
