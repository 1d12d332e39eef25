"""Makes the report of a run: one self-contained HTML page, still plots and a CSV.

Renders everything before it writes anything. Knows nothing of the command line.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.charts import DARK, LIGHT, Chart
from analysis.columns import is_replicate
from analysis.draw_matplotlib import draw_matplotlib
from analysis.draw_plotly import draw_plotly
from analysis.explorer import explorer_data
from analysis.figures.pareto import pareto_chart
from analysis.files import figure_bytes, write_files
from analysis.findings import Findings, title_of, trials_with_front
from analysis.load import RUN, Run, parse_versions
from analysis.selection import BudgetAnswer, why_nothing_fits
from analysis.settings import describe, foreign_settings
from analysis.tables import (
    Table,
)
from analysis.text import exact_size, finite, format_metric
from patchtrain.record import TrialStatus

PAGE, PNG, SVG, CSV = OUTPUTS = ("report.html", "pareto.png", "pareto.svg", "trials.csv")


def write_report(run: Run, out: Path, *, watch_s: float | None = None) -> Path:
    """Write report.html, pareto.png, pareto.svg and trials.csv into `out`; return the page.

    Args:
        run: what is reported.
        out: folder, made if need be.
        watch_s: the page loads itself again after so many seconds.

    Raises:
        InputError: `out` cannot be written.
    """
    findings = Findings(run)
    still = draw_matplotlib(pareto_chart(findings.pareto), title_of(run))
    png = figure_bytes(still, "png")
    write_files(
        out,
        {
            PNG: png,
            SVG: figure_bytes(still, "svg"),
            CSV: trials_with_front(run).to_csv(index=False).encode(),
            PAGE: render_page(findings, png, watch_s=watch_s).encode(),
        },
    )
    return out / PAGE


def render_page(findings: Findings, png: bytes, *, watch_s: float | None = None) -> str:
    """Return the page; `png` is shown where scripts do not run."""
    from plotly.offline import get_plotlyjs

    run, charts, tables = findings.run, findings.charts(), findings.tables()
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters["size"] = exact_size
    return environment.get_template("report.html.j2").render(
        run=run,
        title=title_of(run),
        contents=_contents(findings, charts, tables),
        info=findings.pareto,
        answers=headline(findings.answers, run),
        best=tables["best"],
        has_best=any(answer.trial for answer in findings.answers),
        commands={a.budget_text: a.command for a in findings.answers if a.command},
        counts=status_counts(run),
        has_seeds=any(point.seeds for point in findings.pareto.points),
        charts=charts,
        front=tables["front"],
        growth=tables["hypervolume"],
        reference=findings.reference,
        importance=tables["importance"],
        importances=findings.importances,
        fusion_info=findings.fusion,
        fusion=tables["fusion"],
        memory=tables["memory"],
        waste=tables["waste"],
        paper=tables["paper"],
        curves=findings.curves,
        facts={name: facts(run, name) for name in run.names},
        commands_of_runs={name: sweep.command for name, sweep in run.sweeps.items()},
        explorer=finite(explorer_data(run)),
        drawn=finite({n: draw_plotly(chart) for n, chart in charts.items() if n != "pareto"}),
        palettes={"light": dict(LIGHT), "dark": dict(DARK)},
        variables=_variables,
        style=_text("report.css"),
        script=_text("report.js"),
        plotly_js=get_plotlyjs(),
        png=base64.b64encode(png).decode(),
        watch_s=watch_s,
    )


def _text(name: str) -> str:
    return files("analysis").joinpath("templates", name).read_text(encoding="utf-8")


def _variables(palette: Mapping[str, str]) -> Markup:
    return Markup(" ".join(f"--{name}: {colour};" for name, colour in palette.items()))


def _contents(
    findings: Findings, charts: Mapping[str, Chart], tables: Mapping[str, Table]
) -> dict[str, str]:
    """Return anchor -> heading of the page's sections, those without content left out."""
    metric_name = findings.run.metric_name
    sections = {
        "answer": ("The answer", True),
        "pareto": (f"{metric_name} against memory", True),
        "hypervolume": ("What searching on brought", not charts["hypervolume"].is_empty),
        "importance": ("What each setting matters for", True),
        "marginals": (f"{metric_name} by setting", not charts["marginals"].is_empty),
        "fusion": ("concat against add", bool(findings.fusion.pairs)),
        "memory": ("What holds the memory", not charts["memory"].is_empty),
        "waste": ("Where trials and time went", not charts["waste"].is_empty),
        "curves": ("Learning curves", True),
        "paper": ("The paper's results", bool(tables["paper"].rows)),
        "trials": ("All trials", True),
        "made": ("How this run was made", True),
    }
    return {name: heading for name, (heading, is_there) in sections.items() if is_there}


def status_counts(run: Run) -> dict[str, int]:
    """Return how many trials ended in each status, the most frequent first."""
    return dict(Counter(run.trials["status"].tolist()).most_common())


def headline(answers: Sequence[BudgetAnswer], run: Run) -> list[str]:
    """Return one sentence a budget: the best model in it, and what it buys over the one below."""
    if not any(answer.trial for answer in answers):
        if run.trials.empty:
            return ["No trial is recorded yet: run the sweep, then make the report again."]
        why = why_nothing_fits(run, None)
        return [f"{why[0].upper()}{why[1:]}."]
    return [_sentence(answer, run) for answer in answers]


def _sentence(answer: BudgetAnswer, run: Run) -> str:
    within = (
        "Without a limit"
        if answer.budget_bytes is None
        else f"In {exact_size(answer.budget_bytes)}"
    )
    trial = answer.trial
    if trial is None:
        return f"{within} no trial completed."
    best = f"{within} the best {run.metric_name} is {format_metric(trial['metric'])}"
    if answer.gain is not None and answer.gain_over_bytes is not None:
        below = exact_size(answer.gain_over_bytes)
        if answer.gain == 0:
            return f"{best}, the same model as in {below}: this much more memory bought nothing."
        best = f"{best}, {format_metric(answer.gain)} more than in {below}"
    where = f" (of {trial[RUN]})" if len(run.names) > 1 else ""
    return f"{best}: {describe(trial, foreign_settings(run))}{where}."


def facts(run: Run, name: str) -> dict[str, str]:
    """Return what made the run of that name: hardware, data, how budgets were enforced."""
    trials = run.trials_of(name)
    sweep = run.sweeps[name]
    folder = run.folders.get(name)
    sample = " (sample data)" if trials["data_is_sample"].fillna(False).any() else ""
    found = versions(run, name)
    return {
        "Command": sweep.command or "unknown",
        "Started": sweep.started_at or _earliest(trials["started_at"]),
        "Trials": _trial_counts(trials, sweep.num_trials),
        "Data set": f"{_distinct(trials['dataset'])}{sample}",
        "Device": _distinct(trials["device"]),
        "Budget enforced by": _distinct(trials["cap_level"]),
        "Precision": _distinct(trials["precision"]),
        "Seeds": _distinct(trials["seed"]),
        "Folder": "none" if folder is None else folder.text,
        "Versions": ", ".join(f"{name} {version}" for name, version in found.items()) or "unknown",
    }


def _trial_counts(trials: pd.DataFrame, num_asked: int | None) -> str:
    """Return how many trials were launched, of how many asked for, and what is beside them."""
    replicate = is_replicate(trials)
    refused = (trials["status"] == TrialStatus.PREDICTED_INFEASIBLE.value).to_numpy(dtype=bool)
    text = str(int((~replicate & ~refused).sum()))
    if num_asked:
        text += f" of {num_asked} asked for"
    if refused.any():
        text += f", {int(refused.sum())} not launched as predicted not to fit"
    return text + (f", {int(replicate.sum())} with further seeds" if replicate.any() else "")


def versions(run: Run, name: str) -> dict[str, str]:
    """Return package -> version of a run and its trials; several where trials differ."""
    trials = run.trials_of(name)
    found: dict[str, set[str]] = {}
    of_trials = (parse_versions(text) for text in trials["versions"].dropna().unique())
    for mapping in (run.sweeps[name].versions, *of_trials):
        for package, version in mapping.items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found[package])) for package in sorted(found)}


def _distinct(column: pd.Series) -> str:
    return ", ".join(sorted(map(str, column.dropna().unique()))) or "unknown"


def _earliest(times: pd.Series) -> str:
    known = times.dropna()
    return "unknown" if known.empty else known.min().isoformat(sep=" ", timespec="seconds")
