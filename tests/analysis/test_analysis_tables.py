"""Tables as CSV, Markdown and LaTeX, and everything that is exported."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_up_run import write_made_up_run

from analysis.export import exported
from analysis.findings import Findings
from analysis.load import load_run, rows_of
from analysis.selection import is_on_front
from analysis.tables import Cell, Column, Table, latex_text

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


def test_everything_is_exported(tmp_path: Path) -> None:
    run = load_run(write_made_up_run(tmp_path / "run", 300))
    contents = exported(run)
    tables = ("best", "front", "hypervolume", "importance", "fusion", "memory", "waste", "paper")
    figures = (
        *("pareto", "hypervolume", "importance", "marginals"),
        *("fusion", "memory", "waste", "curves"),
    )
    assert set(contents) == {
        *(f"{name}.{kind}" for name in figures for kind in ("png", "svg")),
        *(f"{name}.{kind}" for name in tables for kind in ("csv", "md", "tex")),
        "trials.parquet",
        "trials.csv",
    }
    for name in figures:
        assert contents[f"{name}.png"].startswith(b"\x89PNG")
        assert b"<svg" in contents[f"{name}.svg"]
    assert exported(run) == contents  # the same run gives the same bytes


def test_exported_parquet_has_every_column_and_the_front(
    write_run: Any, mixed_trials: Any, tmp_path: Path
) -> None:
    run_dir = write_run(mixed_trials)
    run = load_run(run_dir)
    path = tmp_path / "trials.parquet"
    path.write_bytes(exported(run)["trials.parquet"])
    written = pq.read_table(path)
    assert written.column_names == [
        *pq.read_schema(run_dir / "trials.parquet").names,
        "on_front",
    ]
    assert written["on_front"].to_pylist() == is_on_front(run.trials).tolist()
    recorded = rows_of(run.trials)
    for name in ("trial_id", "metric", "peak_allocated_bytes", "status", "seed"):
        assert written[name].to_pylist() == [row[name] for row in recorded]


def test_the_front_table_lists_the_front_by_peak(write_run: Any, mixed_trials: Any) -> None:
    front = Findings(load_run(write_run(mixed_trials))).tables()["front"]
    assert [row[-1].text for row in front.rows] == ["t1", "t3", "t4"]
    assert [row[0].value for row in front.rows] == [400_000_001, 900_000_000, 1_900_000_123]


def test_an_empty_run_exports_its_trials(write_run: Any) -> None:
    contents = exported(load_run(write_run([])))
    assert "trials.parquet" in contents
    assert "no completed trial fits" in contents["best.md"].decode()
    assert "front.md" not in contents
