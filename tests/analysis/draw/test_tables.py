"""Tables as CSV, Markdown and LaTeX, and everything that is exported."""

from __future__ import annotations

import csv
import io

import pytest

from analysis.draw.tables import Cell, Column, Table, latex_text

ODD = r"a|b_c $5 & 100% #1 {x} \y ~ ^ <z>" + "\nnext *line*"


@pytest.fixture
def table() -> Table:
    """Two columns, odd texts, one unknown number."""
    return Table(
        name="odd",
        title="An odd_title & more",
        columns=(Column("Name", False), Column("Peak")),
        rows=((Cell(ODD), Cell("1GB", 1_000_000_001)), (Cell("b"), Cell("\N{EN DASH}"))),
    )


def test_csv_holds_recorded_values(table: Table) -> None:
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    assert rows == [["Name", "Peak"], [ODD, "1000000001"], ["b", ""]]


def test_markdown_keeps_every_row_a_row(table: Table) -> None:
    lines = table.to_markdown().splitlines()
    assert lines[0] == r"**An odd\_title \& more**"
    assert lines[3] == "| --- | ---: |"
    assert len(lines) == 6
    assert lines[4].startswith(r"| a\|b\_c $5 \& 100% \#1 {x} \\y \~ ^")
    assert lines[4].count("|") - lines[4].count(r"\|") == 3


def test_latex_escapes_what_it_would_take_for_commands(table: Table) -> None:
    text = table.to_latex()
    assert r"\caption{An odd\_title \& more}" in text
    assert r"a|b\_c \$5 \& 100\% \#1 \{x\} \textbackslash{}y" in text
    assert text.count(r" \\" + "\n") == 3
    assert latex_text("0.5 ± 0.1 \N{EN DASH}") == r"0.5 $\pm$ 0.1 --"
