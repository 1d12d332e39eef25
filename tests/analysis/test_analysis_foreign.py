"""Other people's sweeps: CSV files and Optuna studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from made_up_run import write_made_up_run

from analysis.errors import InputError
from analysis.findings import Findings
from analysis.foreign import Names, run_from_csv, run_from_optuna
from analysis.load import load_run, rows_of
from analysis.report import write_report
from analysis.selection import best_within
from analysis.settings import foreign_settings, varied_settings
from analysis.tables import best_table

GB = 10**9


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.csv"
    path.write_text(text)
    return path


TABLE = """width,dropout,val_acc,mem_mb,act
64,0.1,0.7,1000.5,relu
128,0.2,0.8,2000,gelu
256,0.3,,3000,relu
"""


def test_a_csv_is_read_by_the_names_that_are_given(tmp_path: Path) -> None:
    names = Names(metric="val_acc", peak="mem_mb", peak_unit="1MB")
    run = run_from_csv(_csv(tmp_path, TABLE), names)
    rows = rows_of(run.trials)
    assert [row["metric"] for row in rows] == [0.7, 0.8, None]
    assert [row["peak_allocated_bytes"] for row in rows] == [1_000_500_000, 2 * GB, 3 * GB]
    assert [row["status"] for row in rows] == ["completed", "completed", "failed"]
    assert run.metric_name == "val_acc"
    assert foreign_settings(run) == ("width", "dropout", "act")
    assert varied_settings(run) == ("width", "dropout", "act")
    best = best_within(run, 2 * GB)
    assert best is not None and (best["width"], best["act"]) == (128, "gelu")
    assert "no folder to train" in run.notices[0]


def test_a_csv_makes_a_page_with_its_own_settings(tmp_path: Path) -> None:
    names = Names(metric="val_acc", peak="mem_mb", peak_unit="1MB")
    run = run_from_csv(_csv(tmp_path, TABLE), names)
    page = write_report(run, tmp_path / "out").read_text()
    assert ">width</th>" in page
    headings = [column.heading for column in best_table(run, Findings(run).answers).columns]
    assert {"width", "dropout", "act"} <= set(headings)


def test_our_own_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    run = load_run(write_made_up_run(tmp_path / "run", 50))
    write_report(run, tmp_path / "out")
    again = run_from_csv(tmp_path / "out" / "trials.csv", Names())
    assert again.metric_name == "accuracy"
    for budget in run.budgets_bytes:
        ours, theirs = best_within(run, budget), best_within(again, budget)
        assert ours is not None and theirs is not None
        assert {k: v for k, v in theirs.items() if k in ours and "_at" not in k} == pytest.approx(
            {k: v for k, v in ours.items() if "_at" not in k} | {"run": "trials"}
        )


def test_a_loss_is_turned_around(tmp_path: Path) -> None:
    run = run_from_csv(
        _csv(tmp_path, "loss,mem\n0.5,10\n0.2,20\n"),
        Names(metric="loss", peak="mem", is_lower_better=True),
    )
    assert run.metric_name == "-loss"
    best = best_within(run, None)
    assert best is not None and best["metric"] == -0.2
    assert any("lower" in notice for notice in run.notices)


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        (TABLE, Names(), "has no column metric; name it by --metric, one of: width, dropout"),
        (TABLE, Names(metric="val_acc"), "has no column peak_allocated_bytes; name it by --peak"),
        (TABLE, Names(metric="act", peak="mem_mb"), "'relu' there, which is no number"),
        (TABLE, Names(metric="val_acc", peak="mem_mb", peak_unit="1X"), "--peak-unit='1X'"),
        ("", Names(), "no table of comma-separated values"),
        ("a,b\n1,2,3\n4\n", Names(), "has no column metric"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, text: str, names: Names, said: str
) -> None:
    with pytest.raises(InputError) as refused:
        run_from_csv(_csv(tmp_path, text), names)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_csv_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        run_from_csv(tmp_path / "nowhere.csv", Names())


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _objective(trial: Any) -> tuple[float, float]:
    width = trial.suggest_int("width", 1, 8)
    act = trial.suggest_categorical("act", ["relu", "gelu"])
    if trial.number == 3:
        raise optuna.TrialPruned
    return width / 10 + (act == "gelu") / 100, width * 1000.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A storage with a study of two objectives, accuracy and megabytes."""
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(
        storage=url,
        study_name="net",
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.optimize(_objective, n_trials=8)
    return url


def test_a_study_is_read_with_its_own_settings(url: str) -> None:
    run = run_from_optuna(url, None, Names(peak_unit="1MB"))
    rows = rows_of(run.trials)
    assert len(rows) == 8
    assert rows[3]["status"] == "stopped_early"
    for row in (each for each in rows if each["status"] == "completed"):
        assert row["metric"] == row["width"] / 10 + (row["act"] == "gelu") / 100
        assert row["peak_allocated_bytes"] == row["width"] * GB
    assert run.names == ("net",)
    assert run.metric_name == "objective 0"
    assert foreign_settings(run) == ("width", "act")
    assert rows[0]["finished_at"] is not None


def test_metric_and_peak_may_be_user_attributes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, direction="minimize")

    def objective(trial: Any) -> float:
        x = float(trial.suggest_float("x", 0, 1))
        trial.set_user_attr("f1", 1 - x)
        trial.set_user_attr("bytes", 100)
        return x

    study.optimize(objective, n_trials=3)
    run = run_from_optuna(url, None, Names(metric="f1", peak="bytes"))
    for row in rows_of(run.trials):
        assert row["metric"] == 1 - row["x"]
        assert row["peak_allocated_bytes"] == 100
    lower = run_from_optuna(url, None, Names(peak="bytes"))
    assert lower.metric_name == "-objective 0"
    for row in rows_of(lower.trials):
        assert row["metric"] == -row["x"]


def test_a_journal_of_a_sweep_is_read(tmp_path: Path) -> None:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "optuna.journal"
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    study.optimize(_objective, n_trials=2)
    assert len(run_from_optuna(str(path), None, Names()).trials) == 2


def test_studies_that_cannot_be_used_are_refused_in_one_line(url: str, tmp_path: Path) -> None:
    optuna.create_study(storage=url, study_name="other")
    cases = [
        ((url, None, Names()), "holds net, other; name one of them"),
        ((url, "nothing", Names()), "--study=nothing"),
        ((url, "net", Names(metric="x")), "--metric='x' is not known in study 'net'"),
        ((url, "other", Names()), "--peak is not given and cannot be told"),
        ((str(tmp_path / "none.journal"), None, Names()), "is neither a storage URL"),
        (("nonsense://x", None, Names()), "--from-optuna=nonsense://x: cannot be read"),
    ]
    for arguments, said in cases:
        with pytest.raises(InputError) as refused:
            run_from_optuna(*arguments)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
