"""Which settings differ between the trials of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from report_parts import tables_of

from analysis.numbers.varied import foreign_settings, shown_settings, varied_settings
from analysis.page.explorer import explorer_data
from analysis.page.report import write_report
from analysis.runs.load import load_run
from analysis.sections.importance import importances
from analysis.settings import SETTINGS, heading_of, is_setting
from patchtrain.record import TrialRecord, schema_of

GB = 10**9


def test_settings_that_differ_are_found(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    assert varied_settings(run) == ("method", "backbone", "patch_size", "fusion", "budget_bytes")
    assert "norm" not in shown_settings(run)


def _with_columns(run_dir: Path, **columns: list[Any]) -> Path:
    path = run_dir / "trials.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)
    return run_dir


def test_a_recorded_setting_that_is_not_listed_is_shown_where_trials_differ(
    write_run: Any, trial: Any
) -> None:
    run_dir = _with_columns(
        write_run([trial("a"), trial("b", metric=0.6, peak_allocated_bytes=2 * GB)]),
        stem_width=[0.1, 0.01],
        drop_path=[0.5, 0.5],
        mixing_kind=["flip", "none"],
        unit_lists=[[1], [2]],
    )
    run = load_run(run_dir)
    shown = shown_settings(run)
    assert (shown["stem_width"], shown["mixing_kind"]) == ("Stem width", "Mixing kind")
    assert not {"drop_path", "unit_lists", "versions", "started_at", "peak_phase", "seed"} & set(
        shown
    )
    assert {"stem_width", "mixing_kind"} <= set(varied_settings(run))
    assert foreign_settings(run) == ()
    table = tables_of(run)["front"]
    place = [column.heading for column in table.columns].index("Stem width")
    assert [row[place].value for row in table.rows] == [0.1, 0.01]
    assert {"name": "mixing_kind", "heading": "Mixing kind", "isText": True} in explorer_data(run)[
        "settings"
    ]


def test_unlisted_settings_of_every_kind_are_asked_for_their_importance(
    write_run: Any, trial: Any
) -> None:
    trials = [trial(f"t{i:02}", metric=(i % 4) / 4 + i / 1000) for i in range(16)]
    run_dir = _with_columns(
        write_run(trials),
        is_mixed=[i % 4 > 1 for i in range(16)],
        num_rounds=[None if i % 2 else i for i in range(16)],
        mixing_kind=[None if i % 3 else "cut" for i in range(15)] + ["blend"],
    )
    run = load_run(run_dir)
    metric = importances(run)[0]
    assert next(iter(metric.shares)) == "is_mixed"
    assert {"num_rounds", "mixing_kind"} <= set(metric.shares)
    assert "Is mixed" in write_report(run, run_dir).read_text()


RESULTS = {"peak_phase", "peak_latent_bytes", "predicted_reserved_bytes", "metric", "metric_name"}
RESULTS |= {"trial_id", "status", "group", "error", "num_parameters", "images_per_s", "versions"}


def test_results_are_no_settings() -> None:
    recorded = set(schema_of(TrialRecord).names)
    assert recorded >= RESULTS
    assert not any(is_setting(name) for name in RESULTS)
    assert all(is_setting(name) for name in SETTINGS)


def test_a_heading_is_made_from_a_name() -> None:
    assert heading_of("stem_width") == "Stem width"
    assert heading_of("patch_size") == "Patch px"
    assert heading_of("budget_bytes") == "Budget"
