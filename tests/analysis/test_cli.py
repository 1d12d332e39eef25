"""The command line: what is printed where, and with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from patchtrain.record import TrialStatus

GB = 10**9


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["report", "best"])
def test_no_completed_trial_is_no_crash(
    write_run: Any, trial: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial("a", status=TrialStatus.OUT_OF_MEMORY, metric=None)]
    for name, each in (("none", []), ("oom", trials)):
        status = main([command, str(write_run(each, name=name))])
        assert status == (0 if command == "report" else 1)
        assert "Traceback" not in capsys.readouterr().err


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
        (["report"], "RUN_DIR: is missing"),
        (["report", "{run}", "{run}"], "--out: is missing"),
        (["report", "{run}", "--watch", "0"], "is not between 1 and 86400 seconds"),
        (["report", "--from-csv", "{tmp}/none.csv", "--out", "{tmp}/x"], "cannot be read"),
        (["report", "s4://bucket/run"], "this kind of URI cannot be read here"),
        (["best", "{run}", "--confidence", "1"], "--confidence=1.0 must be above 0 and below 1"),
        (["best", "{run}", "--confidence", "0.9"], "no configuration was trained with several"),
        (["best", "{run}", "--metric-at-least", "nan"], "--metric-at-least=nan must be a finite"),
        (["compare", "{run}"], "RUN_B"),
        (["compare", "{run}", "{run}", "--tolerance", "-1"], "--tolerance=-1.0 must be 0 or more"),
        (["compare", "{run}", "{run}", "--budgets", "2XB"], "--budgets='2XB'"),
        (["show", "{run}", "zzz"], "TRIAL='zzz': is not a trial of the run; one of: a"),
        (["show", "{run}", "a", "--config", "{run}/trials.parquet/x"], "cannot be written"),
        (["export", "{run}", "--out", "{run}"], "trials.parquet there is being read"),
        (["paper", "--table", "IX"], "--table=IX: is not a table here; give one of I, II"),
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


def test_other_peoples_sweeps_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "sweep.csv"
    table.write_text("width,acc,mem\n1,0.5,10\n2,0.6,20\n")
    names = ["--from-csv", str(table), "--metric", "acc", "--peak", "mem", "--peak-unit", "1MB"]
    assert main(["report", *names, "--out", str(tmp_path / "out")]) == 0
    assert "acc 0.6000, peak 20MB, trial 1: width 2" in capsys.readouterr().out
    assert main(["best", *names, "--budget", "15MB"]) == 0
    printed = capsys.readouterr().out
    assert "acc 0.5000" in printed
    assert "no folder to train it again from" in printed


def test_the_module_runs_and_hands_its_status_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "report", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_what_is_read_is_never_written_over(
    write_run: Any, mixed_trials: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(write_run(mixed_trials)), "--out", str(tmp_path)])
    before = (tmp_path / "trials.csv").read_bytes()
    for command in ("report", "export"):
        read = str(tmp_path / ".." / tmp_path.name / "trials.csv")
        assert main([command, "--from-csv", read, "--out", str(tmp_path)]) == 2
        assert "trials.csv there is being read and must stay" in capsys.readouterr().err
    assert (tmp_path / "trials.csv").read_bytes() == before


def test_a_reader_that_stops_early_is_no_error(write_run: Any, mixed_trials: Any) -> None:
    command = f"{sys.executable} -m analysis show {write_run(mixed_trials)} t4 | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_no_plot_can_lay_out_is_no_crash(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    extreme = [
        trial("a", metric=1e300, group="a", learning_rate=float("inf")),
        trial("a-s1", metric=-1e300, group="a", seed=1),
        trial("b", metric=0.5, train_time_s=float("inf"), budget_bytes=0),
    ]
    run_dir = str(write_run(extreme))
    for words in (
        ["report"],
        ["export"],
        ["best", "--json"],
        ["best", "--confidence", "0.9"],
        ["show", "a", "--json"],
        ["compare", run_dir],
    ):
        assert main([words[0], run_dir, *words[1:]]) in (0, 1)
        printed = capsys.readouterr().out
        if "--json" in words:
            json.loads(printed, parse_constant=lambda constant: pytest.fail(constant))


def test_a_run_named_by_a_uri_is_not_written_over(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run([trial("a")])
    before = (run_dir / "trials.parquet").read_bytes()
    assert main(["export", run_dir.as_uri(), "--out", str(run_dir)]) == 2
    assert "trials.parquet there is being read" in capsys.readouterr().err
    words = ["show", str(run_dir), "a", "--config", str(run_dir / "trials.parquet")]
    assert main(words) == 2
    assert "is a file of the run and must stay" in capsys.readouterr().err
    assert (run_dir / "trials.parquet").read_bytes() == before
