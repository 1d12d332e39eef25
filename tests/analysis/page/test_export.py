"""Everything that is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from made_up_run import write_made_up_run

from analysis.numbers.columns import is_on_front
from analysis.page.export import exported
from analysis.runs.load import load_run
from analysis.runs.run import rows_of


def test_everything_is_exported(tmp_path: Path) -> None:
    run = load_run(write_made_up_run(tmp_path / "run", 300))
    contents = exported(run)
    tables = ("best", "front", "hypervolume", "importance", "fusion", "memory", "waste", "paper")
    figures = (
        *("pareto", "hypervolume", "importance", "marginals"),
        *("fusion", "influence", "memory", "waste", "curves"),
    )
    assert set(contents) >= {
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
    assert written["on_front"].to_pylist() == is_on_front(run).tolist()
    recorded = rows_of(run.trials)
    for name in ("trial_id", "metric", "peak_allocated_bytes", "status", "seed"):
        assert written[name].to_pylist() == [row[name] for row in recorded]


def test_an_empty_run_exports_its_trials(write_run: Any) -> None:
    contents = exported(load_run(write_run([])))
    assert "trials.parquet" in contents
    assert "no completed trial fits" in contents["best.md"].decode()
    assert "front.md" not in contents
