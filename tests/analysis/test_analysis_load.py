"""Reading a RUN_DIR: what is accepted, what is refused and with which line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.load import REQUIRED_TRIAL_COLUMNS, InputError, load_run, rows_of

GB = 10**9


def _refusal(run_dir: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_run(run_dir)
    message = str(refused.value)
    assert "\n" not in message
    return message


def _rewrite(run_dir: Path, table: pa.Table) -> None:
    pq.write_table(table, run_dir / "trials.parquet")


def test_a_run_is_read_as_it_was_written(write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    written = [each.to_row() for each in mixed_trials]
    for row, expected in zip(rows_of(run.trials), written, strict=True):
        assert {name: row[name] for name in expected if name != "started_at"} == {
            name: value for name, value in expected.items() if name != "started_at"
        }
    assert len(run.epochs) == 3 * 5
    assert run.metric_name == "accuracy"
    assert run.dataset == "panda"
    assert not run.data_is_sample


def test_a_byte_count_keeps_all_its_digits_beside_a_missing_one(write_run: Any, trial: Any) -> None:
    peak = 2**53 + 1
    run_dir = write_run(
        [trial("a", peak_allocated_bytes=peak), trial("b", peak_allocated_bytes=None)]
    )
    assert rows_of(load_run(run_dir).trials)[0]["peak_allocated_bytes"] == peak


def test_budgets_are_those_of_the_sweep_and_of_its_trials(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")], sweep={"budgets_bytes": [4 * GB, GB]})
    assert load_run(run_dir).budgets_bytes == (GB, 2 * GB, 4 * GB)


def test_sweep_json_is_read(write_run: Any, trial: Any) -> None:
    content = {
        "sweep": "panda_budget",
        "command": ["python", "sweeps/panda_budget.py", "--data-dir", "my slides"],
        "budgets_bytes": [2 * GB],
        "num_trials": 20,
        "started_at": "2025-01-02T03:04:05+00:00",
        "versions": {"torch": "2.15.0"},
    }
    sweep = load_run(write_run([trial("a")], sweep=content)).sweep
    assert sweep.command == "python sweeps/panda_budget.py --data-dir 'my slides'"
    assert (sweep.name, sweep.num_trials) == ("panda_budget", 20)
    assert sweep.versions == {"torch": "2.15.0"}


def test_missing_folder_is_named(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "nowhere")
    assert "nowhere" in message
    assert "does not exist" in message


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no folder" in _refusal(tmp_path / "file")


def test_folder_without_trials_says_to_run_a_sweep(tmp_path: Path) -> None:
    assert "is it a RUN_DIR? run a sweep first" in _refusal(tmp_path)


@pytest.mark.parametrize("name", ["trials.parquet", "epochs.parquet"])
@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_truncated_parquet_is_refused(write_run: Any, trial: Any, name: str, keep: int) -> None:
    path = write_run([trial("a")]) / name
    path.write_bytes(path.read_bytes()[:keep])
    assert "is not a whole Parquet file" in _refusal(path.parent)


def test_overwritten_parquet_is_refused_or_read_but_never_crashes(
    write_run: Any, mixed_trials: Any
) -> None:
    path = write_run(mixed_trials) / "trials.parquet"
    whole = path.read_bytes()
    refused = 0
    for start in range(0, len(whole) - 64, 400):
        path.write_bytes(whole[:start] + b"\xff" * 64 + whole[start + 64 :])
        try:
            load_run(path.parent)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 5


def test_missing_columns_are_all_named(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    table = pq.read_table(run_dir / "trials.parquet")
    _rewrite(run_dir, table.drop_columns(["fusion", "peak_allocated_bytes"]))
    assert "lacks the columns fusion, peak_allocated_bytes" in _refusal(run_dir)


def test_columns_that_the_report_can_do_without_may_be_absent(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    _rewrite(run_dir, pq.read_table(run_dir / "trials.parquet").select(REQUIRED_TRIAL_COLUMNS))
    assert rows_of(load_run(run_dir).trials)[0]["error"] is None


def test_columns_of_a_later_version_are_kept(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    table = pq.read_table(run_dir / "trials.parquet")
    _rewrite(run_dir, table.append_column("energy_j", pa.array([1.5])))
    assert load_run(run_dir).trials["energy_j"].tolist() == [1.5]


def test_a_column_of_another_type_is_named(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    table = pq.read_table(run_dir / "trials.parquet").drop_columns(["metric"])
    _rewrite(run_dir, table.append_column("metric", pa.array(["good"])))
    assert "column metric holds string, not double" in _refusal(run_dir)


@pytest.mark.parametrize("column", ["trial_id", "status"])
def test_a_row_without_its_name_or_status_is_refused(
    write_run: Any, trial: Any, column: str
) -> None:
    run_dir = write_run([trial("a"), trial("b")])
    table = pq.read_table(run_dir / "trials.parquet")
    index = table.column_names.index(column)
    broken = pa.array([table[column][0].as_py(), None], pa.string())
    _rewrite(run_dir, table.set_column(index, column, broken))
    assert f"row 1 has no {column}" in _refusal(run_dir)


@pytest.mark.parametrize("column", ["metric_name", "dataset"])
def test_trials_that_cannot_be_compared_are_refused(
    write_run: Any, trial: Any, column: str
) -> None:
    message = _refusal(write_run([trial("a"), trial("b", **{column: "other"})]))
    assert f"{column} differs between trials" in message


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"budgets_bytes": ["8GB"]}', '{"budgets_bytes": [-1]}', '{"budgets_bytes": 3}'],
)
def test_a_broken_sweep_json_is_refused_with_the_remedy(
    write_run: Any, trial: Any, text: str
) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "sweep.json").write_text(text)
    message = _refusal(run_dir)
    assert "sweep.json" in message
    assert "move" in message


def test_a_run_without_epochs_has_none(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "epochs.parquet").unlink()
    assert load_run(run_dir).epochs.empty


def test_a_folder_named_like_a_column_adds_none(write_run: Any, trial: Any) -> None:
    run = load_run(write_run([trial("a")], name="lr=1"))
    assert "lr" not in run.trials.columns


def test_rows_show_every_kind_of_unknown_as_none() -> None:
    frame = pd.DataFrame(
        {
            "count": pd.array([1, None], dtype="Int64"),
            "ratio": [0.5, float("nan")],
            "text": ["a", None],
            "flag": pd.array([True, None], dtype="boolean"),
        }
    )
    assert rows_of(frame)[1] == {"count": None, "ratio": None, "text": None, "flag": None}
