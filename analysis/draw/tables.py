"""`Table`: a table as data, written as CSV, Markdown or LaTeX.

Knows nothing of trials or of HTML.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.text import UNKNOWN, bytes_text, format_metric


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
    """The files it is exported to are called by this name."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_csv(self) -> str:
        """Return it as CSV, with the recorded value of each cell where it has one."""
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


def text_column(heading: str) -> Column:
    """Return a column of texts."""
    return Column(heading, is_number=False)


def plain_cell(value: Any) -> Cell:
    """Return a number or a text; unknown is a dash."""
    if value is None:
        return Cell(UNKNOWN)
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), value)


def metric_cell(value: float | None) -> Cell:
    """Return a metric; unknown is a dash."""
    return Cell(format_metric(value), value)


def bytes_cell(num_bytes: int | None) -> Cell:
    """Return a size; unknown is a dash."""
    return Cell(bytes_text(num_bytes), num_bytes)


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
    # the braces keep LaTeX from reading a first cell with [ or * as an argument
    return "{}" + " & ".join(map(latex_text, texts)) + r" \\"


def _markdown(text: str) -> str:
    line = " ".join(text.split())
    for character in "\\`*_[]<>|#&~":
        line = line.replace(character, f"\\{character}")
    return line


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
