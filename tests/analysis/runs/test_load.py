"""Reading a RUN_DIR: what is accepted, what is refused and with which line."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import InputError
from analysis.runs.join import join_runs
from analysis.runs.load import REQUIRED_TRIAL_COLUMNS, load_run
from analysis.runs.run import rows_of
from patchtrain.record import EpochRecord, write_json, write_rows

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
        assert row["run"] == "run"
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
    (sweep,) = load_run(write_run([trial("a")], sweep=content)).sweeps.values()
    assert sweep.command == "python sweeps/panda_budget.py --data-dir 'my slides'"
    assert (sweep.name, sweep.num_trials) == ("panda_budget", 20)
    assert sweep.versions == {"torch": "2.15.0"}


def test_missing_folder_is_named(tmp_path: Path) -> None:
    message = _refusal(tmp_path / "nowhere")
    assert "nowhere" in message
    assert "does not exist" in message


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a folder" in _refusal(tmp_path / "file")


def test_folder_without_trials_says_to_run_a_sweep(tmp_path: Path) -> None:
    assert "does not exist; is it in a RUN_DIR? run a sweep first" in _refusal(tmp_path)
    (tmp_path / "trials.parquet").mkdir()
    assert "trials.parquet: is a folder, not a file" in _refusal(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_truncated_trials_are_refused_where_nothing_stands_in(
    write_run: Any, trial: Any, keep: int
) -> None:
    path = write_run([trial("a")]) / "trials.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    assert "is not a whole Parquet file" in _refusal(path.parent)


@pytest.mark.parametrize("keep", [0, 3, 100, -20])
def test_truncated_files_are_put_together_from_the_trials_own(
    write_run: Any, mixed_trials: Any, keep: int
) -> None:
    run_dir = write_run(mixed_trials)
    whole = load_run(run_dir)
    for each in mixed_trials:
        write_json(run_dir / "trials" / each.trial_id / "record.json", each)
        own = whole.epochs[whole.epochs["trial_id"] == each.trial_id].drop(columns=["run"])
        rows = rows_of(own)
        if rows:
            write_rows(run_dir / "trials" / each.trial_id / "epochs.parquet", EpochRecord, rows)
    (run_dir / "trials" / "t2" / "record.json").write_text("{")
    for name in ("trials.parquet", "epochs.parquet"):
        path = run_dir / name
        path.write_bytes(path.read_bytes()[:keep])
    run = load_run(run_dir)
    expected = whole.trials[whole.trials["trial_id"] != "t2"]
    assert rows_of(run.trials) == rows_of(expected)
    assert rows_of(run.epochs) == rows_of(whole.epochs)
    first, second = run.notices
    assert "trials.parquet is not a whole Parquet file" in first
    assert first.endswith("own files instead, 1 of them broken.")
    assert "epochs.parquet is not a whole Parquet file" in second


def test_truncated_epochs_with_nothing_to_stand_in_are_left_out_with_a_notice(
    write_run: Any, trial: Any
) -> None:
    path = write_run([trial("a")]) / "epochs.parquet"
    path.write_bytes(path.read_bytes()[:50])
    run = load_run(path.parent)
    assert run.epochs.empty
    assert "epochs.parquet" in run.notices[0]


def test_a_sweep_that_has_no_trial_yet_is_read(write_run: Any) -> None:
    run_dir = write_run([], sweep={"budgets_bytes": [GB]})
    for name in ("trials.parquet", "epochs.parquet"):
        (run_dir / name).unlink()
    run = load_run(run_dir)
    assert run.trials.empty
    assert run.budgets_bytes == (GB,)


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
    _rewrite(run_dir, table.drop_columns(["status", "peak_allocated_bytes"]))
    assert "lacks the columns status, peak_allocated_bytes" in _refusal(run_dir)


def test_columns_that_the_report_can_do_without_may_be_absent_and_are_named(
    write_run: Any, trial: Any
) -> None:
    run_dir = write_run([trial("a")])
    _rewrite(run_dir, pq.read_table(run_dir / "trials.parquet").select(REQUIRED_TRIAL_COLUMNS))
    run = load_run(run_dir)
    assert rows_of(run.trials)[0]["error"] is None
    assert run.metric_name == "metric"
    assert "lacks the columns sweep, group, task" in run.notices[0]


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
def test_a_broken_sweep_json_is_left_out_with_a_notice(
    write_run: Any, trial: Any, text: str
) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "sweep.json").write_text(text)
    run = load_run(run_dir)
    assert run.budgets_bytes == (2 * GB,)
    assert "sweep.json is left out" in run.notices[0]


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


def test_runs_are_joined_under_names_of_their_own(write_run: Any, trial: Any) -> None:
    first = load_run(write_run([trial("a"), trial("b")], name="x/run"))
    second = load_run(write_run([trial("a", metric=None)], name="y/run"))
    joined = join_runs([first, second])
    assert joined.names == ("run", "run (2)")
    assert joined.trials["run"].tolist() == ["run", "run", "run (2)"]
    assert set(joined.epochs["run"]) == {"run", "run (2)"}
    assert joined.trials["peak_allocated_bytes"].dtype == pd.Int64Dtype()
    assert rows_of(joined.trials)[2]["metric"] is None
    assert joined.folders["run (2)"].text.endswith("y/run")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric_name": "kappa"}, "metric_name differs between the runs (accuracy in a, kappa"),
        ({"dataset": "mine"}, "dataset differs"),
        ({"data_is_sample": True}, "data_is_sample differs"),
    ],
)
def test_runs_that_cannot_be_compared_are_not_joined(
    write_run: Any, trial: Any, change: Any, said: str
) -> None:
    runs = [
        load_run(write_run([trial("t")], name="a")),
        load_run(write_run([trial("t", **change)], name="b")),
    ]
    with pytest.raises(InputError) as refused:
        join_runs(runs)
    assert said in str(refused.value)


def test_an_empty_run_joins_any_other(write_run: Any, trial: Any) -> None:
    runs = [load_run(write_run([], name="a")), load_run(write_run([trial("t")], name="b"))]
    assert join_runs(runs).trials["trial_id"].tolist() == ["t"]


def test_a_run_behind_a_uri_is_read_like_a_folder(write_run: Any, mixed_trials: Any) -> None:
    run_dir = write_run(mixed_trials, sweep={"budgets_bytes": [4 * GB]})
    local, remote = load_run(run_dir), load_run(run_dir.as_uri())
    assert rows_of(remote.trials) == rows_of(local.trials)
    assert remote.budgets_bytes == local.budgets_bytes
    assert remote.names == local.names


def test_a_run_in_a_file_system_of_fsspec_is_read(write_run: Any, mixed_trials: Any) -> None:
    import fsspec

    run_dir = write_run(mixed_trials, sweep={"budgets_bytes": [4 * GB]})
    memory = fsspec.filesystem("memory")
    for path in run_dir.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/{path.relative_to(run_dir)}", path.read_bytes())
    try:
        run = load_run("memory://bucket")
        assert rows_of(run.trials)[0]["trial_id"] == "t1"
        assert run.budgets_bytes == (GB, 2 * GB, 4 * GB)
    finally:
        memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("uri", ["nonsense://bucket/run", "memory://nowhere/run"])
def test_a_uri_that_cannot_be_read_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as refused:
        load_run(uri)
    assert uri in str(refused.value)
    assert "\n" not in str(refused.value)


def test_infinite_numbers_are_taken_for_unknown_and_said(write_run: Any, trial: Any) -> None:
    odd = trial("a", learning_rate=math.inf, train_time_s=-math.inf, metrics={"macro_f1": math.inf})
    run = load_run(write_run([odd, trial("b")]))
    row = rows_of(run.trials)[0]
    names = ("learning_rate", "train_time_s", "metric_macro_f1")
    assert [row[name] for name in names] == [None] * 3
    assert row["metric"] == 0.5
    (notice,) = run.notices
    assert notice.startswith("trials.parquet holds infinite numbers in ")
    assert all(name in notice for name in names)


def test_a_column_that_is_there_twice_is_refused(write_run: Any, trial: Any) -> None:
    path = write_run([trial("a")]) / "trials.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.append_column("metric", table["metric"]), path)
    assert "has the column metric 2 times" in _refusal(path.parent)


def test_budgets_that_are_none_are_left_out(write_run: Any, trial: Any) -> None:
    trials = [trial("a", budget_bytes=0), trial("b", budget_bytes=-5), trial("c")]
    run = load_run(write_run(trials, sweep={"budgets_bytes": [2**63]}))
    assert run.budgets_bytes == (2 * GB,)
    assert "below 2^63" in run.notices[0]


def test_a_name_of_two_trials_is_refused(write_run: Any, trial: Any) -> None:
    assert "trial_id 'a' is used by several rows" in _refusal(write_run([trial("a"), trial("a")]))


def test_numbers_of_runs_are_names_that_nobody_has(write_run: Any, trial: Any) -> None:
    runs = [
        load_run(write_run([trial("t", metric=metric)], name=name))
        for metric, name in ((0.1, "a/r"), (0.2, "b/r"), (0.3, "r (2)"))
    ]
    joined = join_runs(runs)
    assert joined.names == ("r", "r (3)", "r (2)")
    found = {row["run"]: row["metric"] for row in rows_of(joined.trials)}
    assert found == {"r": 0.1, "r (3)": 0.2, "r (2)": 0.3}
    assert joined.folders["r (3)"] is runs[1].folders["r"]


def test_a_setting_of_two_kinds_joins_as_text(write_run: Any, trial: Any) -> None:
    first, second = (load_run(write_run([trial("a")], name=name)) for name in ("one", "two"))
    number = replace(first, trials=first.trials.assign(depth=pd.array([3], dtype="Int64")))
    text = replace(second, trials=second.trials.assign(depth=["2-2"]))
    assert join_runs([number, text]).trials["depth"].tolist() == ["3", "2-2"]


def test_a_file_where_the_trials_should_lie_is_no_crash(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")], sweep={})
    (run_dir / "trials.parquet").unlink()
    shutil.rmtree(run_dir / "trials")
    (run_dir / "trials").write_text("")
    assert load_run(run_dir).trials.empty
