"""The tables of a run, as data: for the page, and as CSV, Markdown and LaTeX.

Knows nothing of files or of HTML.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.attribution import PARTS, REST, Attribution
from analysis.importance import Importance
from analysis.load import RUN, Run, rows_of
from analysis.pairs import Fusion
from analysis.progress import Path, Spent
from analysis.reference import ReferencePoint
from analysis.seeds import all_seeds
from analysis.selection import BudgetAnswer, is_on_front
from analysis.settings import heading_of, is_text, shown_settings, used_setting
from analysis.text import UNKNOWN, bytes_text, format_metric, seeds_text


@dataclass(frozen=True)
class Cell:
    """One entry: what is shown, and the recorded value behind it."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Column:
    """One column's heading, and whether it holds numbers."""

    heading: str
    is_number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table."""

    name: str
    """Of its files."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_csv(self) -> str:
        """Return it as CSV: recorded values where there are any, not what is shown for them."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.heading for column in self.columns])
        for row in self.rows:
            writer.writerow(
                [
                    cell.value
                    if cell.value is not None
                    else ("" if cell.text == UNKNOWN else cell.text)
                    for cell in row
                ]
            )
        return buffer.getvalue()

    def to_markdown(self) -> str:
        """Return it as a Markdown table under its title."""
        lines = [
            f"**{_markdown(self.title)}**",
            "",
            _markdown_row([_markdown(column.heading) for column in self.columns]),
            _markdown_row(["---:" if column.is_number else "---" for column in self.columns]),
            *(_markdown_row([_markdown(cell.text) for cell in row]) for row in self.rows),
        ]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        r"""Return it as a LaTeX table; it needs `\usepackage{booktabs}`."""
        alignment = "".join("r" if column.is_number else "l" for column in self.columns)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(self.title)}}}",
            rf"\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            _latex_row([column.heading for column in self.columns]),
            r"\midrule",
            *(_latex_row([cell.text for cell in row]) for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def best_table(run: Run, answers: Sequence[BudgetAnswer]) -> Table:
    """Return the best model within each budget."""
    settings = tuple(shown_settings(run))
    has_seeds = any(answer.seeds for answer in answers)
    several = len(run.names) > 1
    columns = [
        Column("Budget"),
        Column(run.metric_name),
        *([Column("Over seeds")] if has_seeds else []),
        Column("Gain"),
        Column("Peak"),
        *_setting_columns(run, settings),
        *_run_columns(several),
        Column("Trial", False),
    ]
    rows: list[tuple[Cell, ...]] = []
    for answer in answers:
        trial = answer.trial
        budget = Cell(answer.budget_text, answer.budget_bytes)
        if trial is None:
            rows.append((budget, Cell("no completed trial fits")))
            continue
        rows.append(
            (
                budget,
                Cell(format_metric(trial["metric"]), trial["metric"]),
                *([Cell(seeds_text(answer.seeds))] if has_seeds else []),
                Cell(
                    UNKNOWN if answer.gain is None else f"+{format_metric(answer.gain)}",
                    answer.gain,
                ),
                _bytes(trial["peak_allocated_bytes"]),
                *_setting_cells(trial, settings),
                *_run_cells(trial[RUN], several),
                Cell(trial["trial_id"]),
            )
        )
    return Table(name="best", title="Best in each budget", columns=tuple(columns), rows=tuple(rows))


def front_table(run: Run) -> Table:
    """Return the trials on the front, smallest peak first."""
    settings = tuple(shown_settings(run))
    seeds = all_seeds(run)
    several = len(run.names) > 1
    front = run.trials[is_on_front(run.trials)].sort_values(["peak_allocated_bytes", "trial_id"])
    columns = (
        Column("Peak"),
        Column(run.metric_name),
        *([Column("Over seeds")] if seeds else []),
        *_setting_columns(run, settings),
        *_run_columns(several),
        Column("Trial", False),
    )
    rows = tuple(
        (
            _bytes(row["peak_allocated_bytes"]),
            Cell(format_metric(row["metric"]), row["metric"]),
            *([Cell(seeds_text(seeds.get((row[RUN], row["trial_id"]))))] if seeds else []),
            *_setting_cells(row, settings),
            *_run_cells(row[RUN], several),
            Cell(row["trial_id"]),
        )
        for row in rows_of(front)
    )
    return Table(name="front", title="The front", columns=columns, rows=rows)


def memory_table(found: Sequence[Attribution], metric_name: str) -> Table:
    """Return what holds the memory of the front's trials."""
    several = len({each.run for each in found}) > 1
    columns = (
        *_run_columns(several),
        Column("Trial", False),
        Column("Most of it, and what lowers it", False),
        Column(metric_name),
        Column("Peak"),
        *(Column(part.capitalize()) for part in (*PARTS, REST)),
        Column("Reached in", False),
    )
    rows = tuple(
        (
            *_run_cells(each.run, several),
            Cell(each.trial_id),
            Cell(each.advice),
            Cell(format_metric(each.metric), each.metric),
            _bytes(each.peak_bytes),
            *(_bytes(num_bytes) for num_bytes in each.parts_bytes.values()),
            Cell(each.phase or UNKNOWN),
        )
        for each in found
    )
    return Table(name="memory", title="What holds the memory", columns=columns, rows=rows)


def importance_table(found: Sequence[Importance], metric_name: str) -> Table:
    """Return the importance of each setting for each target."""
    names = list(dict.fromkeys(name for each in found for name in each.shares))
    headings = {"metric": metric_name, "peak": "Peak", "feasibility": "Fitting the budget"}
    return Table(
        name="importance",
        title="Importance of each setting",
        columns=(
            Column("Setting", False),
            *(Column(headings[each.target]) for each in found),
        ),
        rows=tuple(
            (
                Cell(heading_of(name)),
                *(
                    Cell(f"{each.shares[name]:.1%}", each.shares[name])
                    if name in each.shares
                    else Cell(UNKNOWN)
                    for each in found
                ),
            )
            for name in names
        ),
    )


def fusion_table(found: Fusion, metric_name: str) -> Table:
    """Return the pairs of add and concat."""
    several = len({pair.run for pair in found.pairs}) > 1
    return Table(
        name="fusion",
        title="concat against add",
        columns=(
            *_run_columns(several),
            Column("add", False),
            Column("concat", False),
            Column(f"{metric_name} gained"),
            Column("Peak of add"),
            Column("Peak of concat"),
        ),
        rows=tuple(
            (
                *_run_cells(pair.run, several),
                Cell(pair.add),
                Cell(pair.concat),
                Cell(f"{pair.metric_gain:+.4f}", pair.metric_gain),
                _bytes(pair.peak_bytes[0]),
                _bytes(pair.peak_bytes[1]),
            )
            for pair in found.pairs
        ),
    )


def waste_table(found: Sequence[Spent]) -> Table:
    """Return where trials and time went."""
    several = len({each.run for each in found}) > 1
    has_untimed = any(each.num_untimed for each in found)
    return Table(
        name="waste",
        title="Where trials and time went",
        columns=(
            *_run_columns(several),
            Column("Outcome", False),
            Column("Trials"),
            Column("Device hours"),
            *([Column("Of unknown time")] if has_untimed else []),
        ),
        rows=tuple(
            (
                *_run_cells(each.run, several),
                Cell(each.outcome.value),
                Cell(str(each.num_trials), each.num_trials),
                Cell(f"{each.hours:.4g}", each.hours),
                *([Cell(str(each.num_untimed), each.num_untimed)] if has_untimed else []),
            )
            for each in found
        ),
    )


def growth_table(paths: Sequence[Path]) -> Table:
    """Return the hypervolume that each run ended with, and what it took."""
    rows = []
    for path in paths:
        if not path.values:
            continue
        hours = path.hours[-1]
        rows.append(
            (
                Cell(path.run),
                Cell(f"{path.values[-1]:.4g}", path.values[-1]),
                Cell(str(path.num_trials[-1]), path.num_trials[-1]),
                Cell(UNKNOWN if hours is None else f"{hours:.4g}", hours),
            )
        )
    return Table(
        name="hypervolume",
        title="Hypervolume of the front",
        columns=(
            Column("Run", False),
            Column("Hypervolume"),
            Column("Trials launched"),
            Column("Device hours"),
        ),
        rows=tuple(rows),
    )


def paper_table(points: Sequence[ReferencePoint]) -> Table:
    """Return what the paper published on the same data."""
    metrics = list(dict.fromkeys(name for point in points for name in point.metrics))
    return Table(
        name="paper",
        title="The paper's results",
        columns=(
            Column("Row", False),
            Column("Method", False),
            Column("Backbone", False),
            Column("Image", False),
            Column("Patch px"),
            Column("Sampling rate"),
            Column("Inner iter."),
            Column("Peak"),
            *(Column(name) for name in metrics),
            Column("Source", False),
        ),
        rows=tuple(
            (
                Cell(point.label),
                Cell(point.method or UNKNOWN),
                Cell(point.backbone or UNKNOWN),
                Cell(point.size_text.removeprefix("image ")),
                _plain(point.patch_size),
                _plain(point.sampling_rate),
                _plain(point.inner_iterations),
                _bytes(point.peak_bytes),
                *(_metric(point.metrics.get(name)) for name in metrics),
                Cell(point.source),
            )
            for point in points
        ),
    )


def latex_text(text: str) -> str:
    """Return `text` so that LaTeX shows it as it is, in one line."""
    special = {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        UNKNOWN: "--",
        "\N{PLUS-MINUS SIGN}": r"$\pm$",
    }
    return "".join(special.get(character, character) for character in " ".join(text.split()))


def _latex_row(texts: Sequence[str]) -> str:
    # the braces keep a first cell that begins with [ or * from being taken for an argument
    return "{}" + " & ".join(map(latex_text, texts)) + r" \\"


def _markdown(text: str) -> str:
    line = " ".join(text.split())
    for character in "\\`*_[]<>|#&~":
        line = line.replace(character, f"\\{character}")
    return line


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _run_columns(several: bool) -> list[Column]:
    return [Column("Run", False)] if several else []


def _run_cells(run: str, several: bool) -> list[Cell]:
    return [Cell(run)] if several else []


def _setting_columns(run: Run, settings: Sequence[str]) -> list[Column]:
    return [Column(heading_of(name), not is_text(run.trials[name])) for name in settings]


def _setting_cells(trial: Mapping[str, Any], settings: Sequence[str]) -> list[Cell]:
    return [_plain(used_setting(trial, name)) for name in settings]


def _plain(value: Any) -> Cell:
    if value is None:
        return Cell(UNKNOWN)
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), value)


def _metric(value: float | None) -> Cell:
    return Cell(format_metric(value), value)


def _bytes(num_bytes: int | None) -> Cell:
    return Cell(bytes_text(num_bytes), num_bytes)
