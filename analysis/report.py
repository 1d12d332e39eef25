"""Makes the report of a run: one self-contained HTML page, still plots and a CSV.

Renders everything before it writes anything. Knows nothing of the command line.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis.draw_matplotlib import draw_pareto_matplotlib
from analysis.draw_plotly import draw_curves_plotly, draw_pareto_plotly
from analysis.figures import DARK, LIGHT, ParetoInfo, curves_info, pareto_info
from analysis.load import InputError, Run, parse_versions, rows_of
from analysis.selection import (
    UNKNOWN,
    BudgetAnswer,
    best_per_budget,
    describe,
    exact_size,
    format_metric,
    front_hypervolume,
    is_on_front,
    is_replicate,
    metrics_of,
    used_setting,
    why_nothing_fits,
)
from patchtrain.record import TrialStatus, atomic_path
from patchtrain.units import format_bytes

PAGE, PNG, SVG, CSV = "report.html", "pareto.png", "pareto.svg", "trials.csv"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number or text of a table: what is shown, and the recorded value behind it."""

    label: str
    text: str
    value: Any = None
    is_number: bool = False
    """Whether its column holds numbers, though this one may be unknown."""


@dataclass(frozen=True, kw_only=True)
class BestRow:
    """One row of the headline table: the best model within one budget."""

    cells: tuple[Cell, ...]
    command: str | None
    budget_text: str


def write_report(run: Run, out: Path) -> Path:
    """Write report.html, pareto.png, pareto.svg and trials.csv into `out`; return the page.

    Raises:
        InputError: `out` cannot be written.
    """
    info = pareto_info(run)
    still = draw_pareto_matplotlib(info, _title(run))
    png = _save(still, "png")
    contents = {
        PNG: png,
        SVG: _save(still, "svg"),
        CSV: trials_csv(run).encode(),
        PAGE: render_page(run, info, png).encode(),
    }
    try:
        for name, content in contents.items():
            with atomic_path(out / name) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"--out={out}: cannot be written ({error.strerror or error}); give a folder that can"
        ) from None
    return out / PAGE


def render_page(run: Run, info: ParetoInfo, png: bytes) -> str:
    """Return the page; `png` is shown where scripts do not run."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["metric"] = format_metric
    environment.filters["bytes"] = format_bytes
    environment.filters["size"] = exact_size
    curves = curves_info(run)
    return environment.get_template("report.html.j2").render(
        run=run,
        title=_title(run),
        info=info,
        answers=headline(best_per_budget(run), run),
        best_rows=best_rows(best_per_budget(run)),
        counts=status_counts(run),
        hypervolume=front_hypervolume(run),
        trial_rows=trial_rows(run),
        num_curves=len(curves.curves),
        facts=facts(run),
        versions=versions(run),
        pareto_figure=draw_pareto_plotly(info),
        curves_figure=draw_curves_plotly(curves),
        palettes={"light": dict(LIGHT), "dark": dict(DARK)},
        plotly_js=get_plotlyjs(),
        png=base64.b64encode(png).decode(),
    )


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
    return [_sentence(answer, run.metric_name) for answer in answers]


def _sentence(answer: BudgetAnswer, metric_name: str) -> str:
    within = (
        "Without a limit"
        if answer.budget_bytes is None
        else f"In {exact_size(answer.budget_bytes)}"
    )
    if answer.trial is None:
        return f"{within} no trial completed."
    best = f"{within} the best {metric_name} is {format_metric(answer.trial['metric'])}"
    if answer.gain is not None and answer.gain_over_bytes is not None:
        below = exact_size(answer.gain_over_bytes)
        if answer.gain == 0:
            return f"{best}, the same model as in {below}: this much more memory bought nothing."
        best = f"{best}, {format_metric(answer.gain)} more than in {below}"
    return f"{best}: {describe(answer.trial)}."


def best_rows(answers: Sequence[BudgetAnswer]) -> list[BestRow]:
    """Return the headline table: a row per budget."""
    with_seeds = any(answer.seeds for answer in answers)
    return [_best_row(answer, with_seeds) for answer in answers]


def _best_row(answer: BudgetAnswer, with_seeds: bool) -> BestRow:
    trial = answer.trial
    cells = [_number("Budget", answer.budget_text, answer.budget_bytes)]
    if trial is None:
        cells.append(Cell(label="Best", text="no completed trial fits"))
    else:
        metric, peak = trial["metric"], trial["peak_allocated_bytes"]
        cells += [
            _number(trial["metric_name"] or "metric", format_metric(metric), metric),
            *([_number("Over seeds", str(answer.seeds or UNKNOWN))] if with_seeds else []),
            _number("Gain", _gain_text(answer.gain), answer.gain),
            _number("Peak", format_bytes(peak), peak),
            *_setting_cells(trial),
            Cell(label="Trial", text=trial["trial_id"]),
        ]
    return BestRow(cells=tuple(cells), command=answer.command, budget_text=answer.budget_text)


SETTINGS: Mapping[str, str] = {
    "method": "Method",
    "backbone": "Backbone",
    "image_size": "Image px",
    "patch_size": "Patch px",
    "sampling_rate": "Sampling rate",
    "num_sampled": "Sampled patches",
    "inner_iterations": "Inner iter.",
    "fusion": "Fusion",
}
"""Settings shown in tables -> heading."""

EXTRA_SETTINGS: Mapping[str, str] = {
    "encoder": "Encoder",
    "learning_rate": "Learning rate",
    "precision": "Precision",
    "patch_microbatch": "Microbatch",
}
"""Settings shown in the table of all trials where they differ -> heading."""

TEXT_SETTINGS = ("method", "backbone", "encoder", "fusion", "precision", "patch_microbatch")


def _setting_cells(trial: Mapping[str, Any], settings: Mapping[str, str] = SETTINGS) -> list[Cell]:
    cells = []
    for name, label in settings.items():
        value = used_setting(trial, name)
        text = f"{value:.4g}" if isinstance(value, float) else _text(value)
        cells.append(Cell(label=label, text=text, value=value, is_number=name not in TEXT_SETTINGS))
    return cells


def trial_rows(run: Run) -> list[list[Cell]]:
    """Return all trials for the page's table: best metric first, those without one last."""
    order = run.trials.assign(
        on_front=is_on_front(run.trials), known=metrics_of(run.trials)
    ).sort_values(["known", "trial_id"], ascending=[False, True], na_position="last")
    differing = {
        name: label for name, label in EXTRA_SETTINGS.items() if run.trials[name].nunique() > 1
    }
    return [_trial_cells(row, {**SETTINGS, **differing}) for row in rows_of(order)]


def _trial_cells(row: Mapping[str, Any], settings: Mapping[str, str]) -> list[Cell]:
    epochs = f"{_text(row['epochs_done'])}/{_text(row['epochs'])}"
    return [
        Cell(label="Trial", text=row["trial_id"]),
        Cell(label="Status", text=row["status"]),
        Cell(label="Front", text="yes" if row["on_front"] else ""),
        _number("Metric", format_metric(row["metric"])),
        _number("Peak", _bytes(row["peak_allocated_bytes"])),
        _number("Predicted peak", _bytes(row["predicted_peak_bytes"])),
        _number("Budget", _bytes(row["budget_bytes"])),
        *_setting_cells(row, settings),
        _number("Epochs", epochs),
        _number("Training s", _text(row["train_time_s"], ".1f")),
        Cell(label="Error", text=row["error"] or ""),
    ]


def _number(label: str, text: str, value: float | None = None) -> Cell:
    return Cell(label=label, text=text, value=value, is_number=True)


def facts(run: Run) -> dict[str, str]:
    """Return what made the run: command, hardware, data, how budgets were enforced."""
    return {
        "Command": run.sweep.command or "unknown",
        "Started": run.sweep.started_at or _earliest(run.trials["started_at"]),
        "Trials": _trial_counts(run),
        "Data set": (run.dataset or "unknown") + (" (sample data)" if run.data_is_sample else ""),
        "Device": _distinct(run.trials["device"]),
        "Budget enforced by": _distinct(run.trials["cap_level"]),
        "Precision": _distinct(run.trials["precision"]),
        "Seeds": _distinct(run.trials["seed"]),
        "Folder": str(run.directory),
    }


def _trial_counts(run: Run) -> str:
    """Return how many trials were launched, of how many asked for, and what is beside them."""
    replicate = is_replicate(run.trials)
    refused = (run.trials["status"] == TrialStatus.PREDICTED_INFEASIBLE.value).to_numpy(dtype=bool)
    text = _text(int((~replicate & ~refused).sum()))
    if run.sweep.num_trials:
        text += f" of {run.sweep.num_trials} asked for"
    if refused.any():
        text += f", {int(refused.sum())} not launched as predicted not to fit"
    return text + (f", {int(replicate.sum())} with further seeds" if replicate.any() else "")


def versions(run: Run) -> dict[str, str]:
    """Return package -> version of the sweep and its trials; several where trials differ."""
    found: dict[str, set[str]] = {}
    of_trials = (parse_versions(text) for text in run.trials["versions"].dropna().unique())
    for mapping in (run.sweep.versions, *of_trials):
        for name, version in mapping.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(found[name])) for name in sorted(found)}


def trials_csv(run: Run) -> str:
    """Return all columns of trials.parquet and `on_front` as CSV."""
    return run.trials.assign(on_front=is_on_front(run.trials)).to_csv(index=False)


def _title(run: Run) -> str:
    name = run.sweep.name or next(iter(run.trials["sweep"].dropna()), None) or run.directory.name
    data = "" if run.dataset is None else f" on {run.dataset}"
    return f"{name}{data}{' (sample data)' if run.data_is_sample else ''}"


def _save(figure: Figure, file_format: str) -> bytes:
    buffer = io.BytesIO()
    # no date and a fixed salt: the same run gives the same bytes
    metadata = {"Date": None} if file_format == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "analysis"}):
        figure.savefig(buffer, format=file_format, metadata=metadata)
    return buffer.getvalue()


def _gain_text(gain: float | None) -> str:
    return UNKNOWN if gain is None else f"+{format_metric(gain)}"


def _bytes(num_bytes: int | None) -> str:
    return UNKNOWN if num_bytes is None else format_bytes(num_bytes)


def _text(value: Any, form: str = "") -> str:
    return UNKNOWN if value is None else format(value, form)


def _distinct(column: pd.Series) -> str:
    return ", ".join(sorted(map(str, column.dropna().unique()))) or "unknown"


def _earliest(times: pd.Series) -> str:
    known = times.dropna()
    return "unknown" if known.empty else known.min().isoformat(sep=" ", timespec="seconds")
