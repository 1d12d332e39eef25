"""Other people's sweeps: CSV files and Optuna studies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from made_up_run import write_made_up_run

from analysis.errors import InputError
from analysis.page.explorer import explorer_data
from analysis.runs.foreign import Names
from analysis.runs.from_csv import run_from_csv
from analysis.runs.from_optuna import run_from_optuna
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import rows_of
from analysis.page.report import write_report
from analysis.numbers.seeds import all_seeds
from analysis.numbers.selection import best_within
from analysis.numbers.varied import foreign_settings, varied_settings
from analysis.sections.answer import best_table

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
    headings = [column.heading for column in best_table(run).columns]
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
        (TABLE, Names(metric="act", peak="mem_mb"), "'relu' there, which is not a number"),
        (TABLE, Names(metric="val_acc", peak="mem_mb", peak_unit="1X"), "--peak-unit='1X'"),
        ("", Names(), "not a table of comma-separated values"),
        ("a,b\n1,2\n4\n", Names(), "has no column metric"),
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
        ((url, "other", Names()), "--peak is not given and cannot be guessed"),
        ((str(tmp_path / "none.journal"), None, Names()), "is neither a storage URL"),
        (("nonsense://x", None, Names()), "--from-optuna=nonsense://x: cannot be read"),
    ]
    for arguments, said in cases:
        with pytest.raises(InputError) as refused:
            run_from_optuna(*arguments)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


OURS = (
    "kind",
    "low",
    "mean",
    "run",
    "group",
    "status",
    "seed",
    "budget_bytes",
    "metric_x",
    "score",
)
"""Names that our tables or the page have for other things."""


def test_a_setting_called_as_a_column_of_ours_overwrites_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, directions=["maximize", "minimize"])

    def objective(trial: Any) -> tuple[float, float]:
        values = [trial.suggest_int(name, 1, 5) for name in OURS]
        return sum(values) / 100, 1000.0

    study.optimize(objective, n_trials=4)
    run = run_from_optuna(url, None, Names())
    assert foreign_settings(run) == tuple(
        name if name in ("kind", "low", "mean", "score") else f"param {name}" for name in OURS
    )
    params = [trial.params for trial in study.trials]
    for row, values in zip(rows_of(run.trials), params, strict=True):
        assert (row["status"], row["group"], row["seed"]) == ("completed", None, None)
        assert [row[name] for name in foreign_settings(run)] == list(values.values())
    data = explorer_data(run)
    assert data["trials"]["kind"] == ["candidate"] * 4
    assert data["values"]["kind"] == [values["kind"] for values in params]
    assert best_within(run, None) == max(rows_of(run.trials), key=lambda row: row["metric"])
    assert write_report(run, tmp_path / "out").is_file()


def test_rows_of_a_csv_may_lack_names_and_have_states_of_other_tools(tmp_path: Path) -> None:
    text = (
        "trial_id,status,metric,peak_allocated_bytes,group\n"
        "a,Completed,0.5,10,x\n,PRUNED,0.6,10,x\nc, ,0.7,10,y\nd,,,10,y\n"
        "e,out of memory,,10,\n"
    )
    run = run_from_csv(_csv(tmp_path, text), Names())
    rows = rows_of(run.trials)
    assert [row["trial_id"] for row in rows] == ["a", "1", "c", "d", "e"]
    states = ["completed", "stopped_early", "completed", "failed", "out_of_memory"]
    assert [row["status"] for row in rows] == states
    assert [row["param group"] for row in rows] == ["x", "x", "y", "y", None]
    assert [row["group"] for row in rows] == [None] * 5
    with pytest.raises(InputError, match="row 1 has the status 'done', which is not one of completed"):
        run_from_csv(_csv(tmp_path, text.replace("Completed", "done")), Names())


def test_columns_of_another_kind_are_settings_or_left_out(tmp_path: Path) -> None:
    text = (
        "patch_size,metric_type,metric_f1,started_at,metric,peak_allocated_bytes\n"
        "16x16,a,0.1,noon,0.5,10\n32x32,b,0.2,night,0.6,10\n"
    )
    run = run_from_csv(_csv(tmp_path, text), Names())
    assert foreign_settings(run) == ("param patch_size", "param metric_type")
    assert [row["metric_f1"] for row in rows_of(run.trials)] == [0.1, 0.2]
    assert "of another kind: started_at." in run.notices[-1]


def test_peaks_that_are_none_are_unknown(tmp_path: Path) -> None:
    text = "width,metric,mem\n99999999999999999999,0.5,inf\n1,0.6,1e19\n2,0.7,-1\n3,0.8,7\n"
    run = run_from_csv(_csv(tmp_path, text), Names(peak="mem"))
    assert [row["peak_allocated_bytes"] for row in rows_of(run.trials)] == [None, None, None, 7]
    assert "The peak of 3 trials" in run.notices[-1]
    assert write_report(run, tmp_path / "out").is_file()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_an_objective_may_be_named_by_its_index(url: str, tmp_path: Path) -> None:
    study = optuna.load_study(study_name="net", storage=url)
    study.set_metric_names(["acc", "mem"])
    run = run_from_optuna(url, None, Names(metric="0", peak="1"))
    assert run.metric_name == "acc"
    assert best_within(run, None) == best_within(run_from_optuna(url, None, Names()), None)


def test_storages_without_a_study_are_refused_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with pytest.raises(InputError, match="there is no such file"):
        run_from_optuna(f"sqlite:///{missing}", None, Names())
    assert not missing.exists()
    empty = f"sqlite:///{tmp_path}/empty.db"
    optuna.storages.RDBStorage(empty)
    with pytest.raises(InputError, match="holds no study; give the storage"):
        run_from_optuna(empty, None, Names())
    text = tmp_path / "no.journal"
    text.write_text("this is no journal\n")
    with pytest.raises(InputError, match=r"cannot be read|holds no study"):
        run_from_optuna(str(text), None, Names())


def test_commas_at_the_end_of_rows_shift_nothing(tmp_path: Path) -> None:
    text = "metric,peak_allocated_bytes,a\n0.5,100,1,\n0.6,200,2,\n"
    best = best_within(run_from_csv(_csv(tmp_path, text), Names()), None)
    assert best is not None
    assert (best["metric"], best["peak_allocated_bytes"], best["a"]) == (0.6, 200, 2)
    with pytest.raises(InputError, match="line 3 has more values than there are names"):
        run_from_csv(_csv(tmp_path, text.replace("2,\n", "2,9\n")), Names())


def test_a_table_over_several_runs_is_taken_apart_again(tmp_path: Path) -> None:
    runs = [load_run(write_made_up_run(tmp_path / n, 30, seed=s)) for s, n in enumerate("ab")]
    joined = join_runs(runs)
    write_report(joined, tmp_path / "out")
    again = run_from_csv(tmp_path / "out" / "trials.csv", Names())
    assert again.names == ("a", "b")
    assert all_seeds(again) == all_seeds(joined)
    for budget in joined.budgets_bytes:
        ours, theirs = best_within(joined, budget), best_within(again, budget)
        assert ours is not None and theirs is not None
        assert (theirs["run"], theirs["trial_id"]) == (ours["run"], ours["trial_id"])


def test_results_that_are_not_asked_for_are_settings_where_they_are_not_ours(
    tmp_path: Path,
) -> None:
    text = (
        "metric,run,param seed,seed,aug,acc,mem\ncosine,a,1,x,None,0.5,1\neuclid,b,2,y,flip,0.6,2\n"
    )
    run = run_from_csv(_csv(tmp_path, text), Names(metric="acc", peak="mem"))
    first = rows_of(run.trials)[0]
    assert {name: first[name] for name in foreign_settings(run)} == {
        "param metric": "cosine",
        "param run": "a",
        "param seed": 1,
        "param param seed": "x",
        "aug": "None",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trial_id,metric,peak_allocated_bytes\na,1,2\na,3,4\n", "trial_id 'a' is used by several"),
        ("dataset,metric,peak_allocated_bytes\na,1,2\nb,3,4\n", "dataset differs between trials"),
        ("metric;peak_allocated_bytes\n1;2\n", "values must be separated by commas"),
    ],
)
def test_trials_that_cannot_be_told_apart_or_compared_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        run_from_csv(_csv(tmp_path, text), Names())


def test_a_row_without_a_name_takes_none_that_another_has(tmp_path: Path) -> None:
    text = "trial_id,metric,peak_allocated_bytes\n,1,2\n0,3,4\n"
    run = run_from_csv(_csv(tmp_path, text), Names())
    assert run.trials["trial_id"].tolist() == ["row 0", "0"]


def test_trials_that_violate_constraints_are_never_best(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, directions=["maximize", "minimize"])
    for value, constraint in ((0.5, -1.0), (0.9, 5.0)):
        study.add_trial(
            optuna.trial.create_trial(
                values=[value, 10.0],
                params={"x": value},
                distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                system_attrs={"constraints": [constraint]},
            )
        )
    run = run_from_optuna(url, None, Names())
    best = best_within(run, None)
    assert best is not None and best["metric"] == 0.5
    assert rows_of(run.trials)[1]["error"] == "violates the study's constraints"
