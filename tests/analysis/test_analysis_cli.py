"""The command line: what is printed where, and with which exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from patchtrain.record import TrialStatus

GB = 10**9
ROOT = Path(__file__).resolve().parents[2]


def test_report_prints_counts_best_and_its_path(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    assert main(["report", str(run_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("9 trials: 5 completed, ")
    assert "1 out_of_memory" in lines[0]
    assert lines[1].startswith("best in 1GB: accuracy 0.6180, peak 900MB, trial t3: ")
    assert lines[2].startswith("best in 2GB: accuracy 0.7123, peak 1.9GB, trial t4: ")
    assert lines[3] == f"report: {run_dir / 'report.html'}"


def test_report_says_sample_data(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(write_run([trial("a", data_is_sample=True)]))]) == 0
    assert "SAMPLE DATA" in capsys.readouterr().out


def test_report_goes_where_it_is_told(write_run: Any, trial: Any, tmp_path: Path) -> None:
    run_dir = write_run([trial("a")])
    before = sorted(run_dir.iterdir())
    assert main(["report", str(run_dir), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").exists()
    assert sorted(run_dir.iterdir()) == before


def test_best_prints_the_model_and_its_command(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    assert main(["best", str(run_dir), "--budget", "1GB"]) == 0
    first, command = capsys.readouterr().out.splitlines()
    assert first.startswith("best in 1GB: accuracy 0.6180, peak 900MB, trial t3: local_global, ")
    assert shlex.split(command) == [
        "patchtrain",
        "train",
        str(run_dir / "trials" / "t3" / "config.yaml"),
        "--set",
        "budget=1GB",
        "--out",
        "trained/t3",
    ]


def test_best_without_budget_answers_for_each_of_the_run(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials, sweep={"budgets_bytes": [1000, GB, 2 * GB]})
    assert main(["best", str(run_dir)]) == 0
    printed = capsys.readouterr().out
    assert "1KB: no trial completed within 1KB" in printed
    assert "trial t3" in printed
    assert "trial t4" in printed


def test_best_json_holds_the_recorded_values(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    assert main(["best", str(run_dir), "--budget", "2GB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["budget_bytes"] == 2 * GB
    assert found["trial_id"] == "t4"
    assert found["metric"] == 0.71234567891
    assert found["peak_allocated_bytes"] == 1_900_000_123
    assert found["settings"]["backbone"] == "resnet50"
    assert found["settings"]["num_sampled"] == 3
    assert main(["best", str(run_dir), "--json"]) == 0
    assert [each["trial_id"] for each in json.loads(capsys.readouterr().out)] == ["t3", "t4"]


def test_best_exits_1_and_names_the_smallest_peak_when_nothing_fits(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    assert main(["best", str(run_dir), "--budget", "100MB"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert "400000001 bytes" in printed.err
    assert main(["best", str(run_dir), "--budget", "100MB", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["trial_id"] is None


@pytest.mark.parametrize("command", ["report", "best"])
def test_no_completed_trial_is_no_crash(
    write_run: Any, trial: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial("a", status=TrialStatus.OUT_OF_MEMORY, metric=None)]
    for name, each in (("none", []), ("oom", trials)):
        status = main([command, str(write_run(each, name=name))])
        assert status == (0 if command == "report" else 1)
        assert "Traceback" not in capsys.readouterr().err


def test_best_says_that_the_configuration_is_missing(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "trials" / "a" / "config.yaml").unlink()
    assert main(["best", str(run_dir)]) == 0
    assert "config.yaml is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "{tmp}/nowhere"], "does not exist"),
        (["report", "{tmp}"], "run a sweep first"),
        (["best", "{run}", "--budget", "8XB"], "--budget='8XB' is not a memory size"),
        (["best", "{run}", "--budget", "-1GB"], "expected one argument"),
        (["best", "{run}", "--budget", "0GB"], "not a memory size"),
        (["best", "{run}", "--budget", "9" * 400 + ".0TB"], "not a memory size"),
        (["report", "{run}", "--out", "{run}/trials.parquet"], "is a file"),
        (["report", "{run}", "--out", "{run}/trials.parquet/x"], "cannot be written"),
        (["report"], "RUN_DIR"),
        (["draw", "{run}"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(
    write_run: Any,
    trial: Any,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = write_run([trial("a")])
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main([word.format(tmp=tmp_path, run=run_dir) for word in arguments])
    except SystemExit as left:  # how argparse leaves
        status = int(str(left.code))
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert said in printed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_module_runs_and_hands_its_status_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "report", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


HEAVY = ("torch", "ray", "optuna", "sweeps", "patchtrain.errors")
CHECK = "; import sys; print(sorted(set(sys.modules) & set({heavy!r})))"


def _heavy_modules_after(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code + CHECK.format(heavy=HEAVY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_a_whole_report_imports_no_trainer_and_no_sweep(write_run: Any, trial: Any) -> None:
    run_dir = str(write_run([trial("a")]))
    code = f"import analysis.cli; analysis.cli.main(['report', {run_dir!r}])"
    assert _heavy_modules_after(code) == "[]"


def test_the_import_check_can_fail() -> None:
    assert _heavy_modules_after("import optuna") == "['optuna']"
