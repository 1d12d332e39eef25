"""The command line: what is printed where, and with which exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import _parser, main
from analysis.commands.report import watch
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
    assert "1 out of memory" in lines[0]
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
        (["report"], "RUN_DIR: is missing"),
        (["report", "{run}", "{run}"], "--out: is missing"),
        (["report", "{run}", "--watch", "0"], "is not between 1 and 86400 seconds"),
        (["report", "--from-csv", "{tmp}/none.csv", "--out", "{tmp}/x"], "cannot be read"),
        (["report", "s4://bucket/run"], "no such kind of URI"),
        (["best", "{run}", "--confidence", "1"], "--confidence=1.0 must be above 0 and below 1"),
        (["best", "{run}", "--confidence", "0.9"], "no configuration was trained with several"),
        (["best", "{run}", "--metric-at-least", "nan"], "--metric-at-least=nan must be a finite"),
        (["compare", "{run}"], "RUN_B"),
        (["compare", "{run}", "{run}", "--tolerance", "-1"], "--tolerance=-1.0 must be 0 or more"),
        (["compare", "{run}", "{run}", "--budgets", "2XB"], "--budgets='2XB'"),
        (["show", "{run}", "zzz"], "TRIAL='zzz': is not a trial of the run; one of: a"),
        (["show", "{run}", "a", "--config", "{run}/trials.parquet/x"], "cannot be written"),
        (["export", "{run}", "--out", "{run}"], "trials.parquet there is what is read"),
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


def test_best_finds_the_least_memory_for_a_metric(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = str(write_run(mixed_trials))
    assert main(["best", run_dir, "--metric-at-least", "0.6"]) == 0
    assert capsys.readouterr().out.startswith(
        "least memory for accuracy 0.6: accuracy 0.6180, peak 900MB, trial t3: "
    )
    assert main(["best", run_dir, "--metric-at-least", "0.6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trial_id"] == "t3"
    assert main(["best", run_dir, "--metric-at-least", "0.9"]) == 1
    assert "no completed trial reaches accuracy 0.9; the best reaches 0.7123" in (
        capsys.readouterr().err
    )
    assert main(["best", run_dir, "--metric-at-least", "0.6", "--budget", "500MB"]) == 1
    assert "reaches accuracy 0.6 within the budget; the best reaches 0.5000" in (
        capsys.readouterr().err
    )


def test_best_with_confidence_says_the_bound(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = (0.62, 0.61, 0.60)
    trials = [
        trial(f"b-s{seed}" if seed else "b", group="b", seed=seed, metric=metric)
        for seed, metric in enumerate(metrics)
    ]
    run_dir = str(write_run([*trials, trial("once", group="once", metric=0.9)]))
    assert main(["best", run_dir, "--confidence", "0.95"]) == 0
    printed = capsys.readouterr().out
    assert "trial b: " in printed
    assert "with confidence 0.95 its mean over seeds is at least 0.5931" in printed
    assert main(["best", run_dir, "--confidence", "0.95", "--budget", "2GB", "--json"]) == 0
    seeds = json.loads(capsys.readouterr().out)["seeds"]
    assert seeds["num_seeds"] == 3
    assert seeds["lower_bound"] == pytest.approx(0.61 - 2.91999 * 0.01 / 3**0.5, abs=1e-6)
    assert main(["best", run_dir, "--confidence", "0.95", "--budget", "1KB"]) == 1
    assert "no configuration that was trained with several seeds fits" in capsys.readouterr().err
    found = ["--confidence", "0.95", "--metric-at-least", "0.6"]
    assert main(["best", run_dir, *found]) == 1
    assert "the best reaches 0.5931" in capsys.readouterr().err


def test_compare_exits_1_where_the_second_run_is_worse(
    write_run: Any, mixed_trials: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = str(write_run(mixed_trials, name="a"))
    b = str(write_run([trial("x", metric=0.6, budget_bytes=GB)], name="b"))
    assert main(["compare", a, b]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("1GB: accuracy 0.6180 (t3, peak 900MB) -> 0.6000 (x, peak 1GB): -0.0180")
    assert lines[1].startswith("2GB: accuracy 0.7123 (t4")
    assert lines[1].endswith("-0.1123")
    assert lines[-1] == "RUN_B is worse by more than 0"
    assert main(["compare", a, b, "--tolerance", "0.2"]) == 0
    assert main(["compare", a, b, "--budgets", "1GB", "--tolerance", "0.02"]) == 0
    assert main(["compare", b, a]) == 0
    exact = [str(write_run([trial("t", metric=m)], name=f"m{m}")) for m in (0.70, 0.69)]
    assert main(["compare", *exact, "--tolerance", "0.01"]) == 0
    assert main(["compare", a, a]) == 0
    capsys.readouterr()
    assert main(["compare", a, b, "--json", "--budgets", "500MB", "1GB"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["budget_bytes"] for each in found["budgets"]] == [500_000_000, GB]
    assert found["budgets"][0]["b"] is None
    assert found["budgets"][1]["gain"] == pytest.approx(0.6 - 0.6180339887)
    assert found["is_worse"]


def test_compare_where_only_one_has_a_model(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = str(write_run([trial("a")], name="a"))
    none = str(write_run([trial("b", status=TrialStatus.FAILED, metric=None)], name="b"))
    assert main(["compare", a, none, "--tolerance", "100"]) == 1
    assert "only RUN_A has a model that fits" in capsys.readouterr().out
    assert main(["compare", none, a]) == 0
    assert "only RUN_B has a model that fits" in capsys.readouterr().out
    assert main(["compare", none, none]) == 0
    assert "neither has a model that fits" in capsys.readouterr().out


def test_compare_refuses_other_data(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = str(write_run([trial("a")], name="a"))
    b = str(write_run([trial("b", dataset="mine")], name="b"))
    assert main(["compare", a, b]) == 2
    assert "dataset differs between the runs" in capsys.readouterr().err


def test_show_tells_everything_of_a_trial(
    write_run: Any, mixed_trials: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    config = tmp_path / "deep" / "t4.yaml"
    assert main(["show", str(run_dir), "t4", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    for said in (
        "completed, on the front",
        "0.7123",
        "1.9GB (1900000123 bytes)",
        "resnet50",
        f"patchtrain train {run_dir}/trials/t4/config.yaml --out trained/t4",
        "0.2374 to 0.7123",  # the curve
    ):
        assert said in printed
    assert config.read_text() == "dataset: panda\n"
    assert main(["show", str(run_dir), "t4", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["metric"] == 0.71234567891
    assert [epoch["epoch"] for epoch in row["epochs_rows"]] == [1, 2, 3]


def test_show_takes_the_beginning_of_a_name(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = str(write_run([trial("00012"), trial("00013"), trial("00013-s1")]))
    assert main(["show", run_dir, "00012"[:5]]) == 0
    assert main(["show", run_dir, "00013"]) == 0  # a whole name wins over beginnings
    capsys.readouterr()
    assert main(["show", run_dir, "000"]) == 2
    assert "begins several trial_ids; one of: 00012, 00013" in capsys.readouterr().err


def test_a_shown_error_stays_on_its_line(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = trial("a", status=TrialStatus.FAILED, metric=None, error="first\nsecond")
    assert main(["show", str(write_run([failed])), "a"]) == 0
    assert "error              first second" in capsys.readouterr().out


def test_export_writes_beside_the_run(
    write_run: Any, mixed_trials: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(mixed_trials)
    before = (run_dir / "trials.parquet").read_bytes()
    assert main(["export", str(run_dir)]) == 0
    printed = capsys.readouterr().out
    for name in ("pareto.png", "waste.svg", "best.tex", "trials.parquet"):
        assert (run_dir / "export" / name).exists()
        assert name in printed
    assert (run_dir / "trials.parquet").read_bytes() == before


def test_the_papers_tables_are_printed_alone_and_beside_a_run(
    write_run: Any, mixed_trials: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["paper", "--table", "VI"]) == 0
    printed = capsys.readouterr().out
    assert "| Ours | local\\_global | unet | 512 px | 128 |" in printed
    assert "Table VI, page 6" in printed
    assert main(["paper", str(write_run(mixed_trials, name="real"))]) == 0
    assert "within 10GB (table I, Ours): accuracy 0.5930, here 0.7123 (+0.1193)" in (
        capsys.readouterr().out
    )
    assert main(["paper", str(write_run([trial("a", data_is_sample=True)], name="sample"))]) == 0
    assert "cannot be compared" in capsys.readouterr().out
    assert main(["paper", str(write_run([trial("a", dataset="mine")], name="mine"))]) == 2
    assert "has no results on mine" in capsys.readouterr().err


def test_report_lays_runs_over_each_other(
    write_run: Any, trial: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dirs = [str(write_run([trial("a", metric=m)], name=n)) for n, m in (("x", 0.5), ("y", 0.6))]
    assert main(["report", *dirs, "--out", str(tmp_path / "out")]) == 0
    assert "trial a of y" in capsys.readouterr().out


def test_watching_draws_again_when_the_run_has_changed(
    write_run: Any, trial: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    options = _parser().parse_args(["report", str(run_dir), "--watch", "1"])
    looks = iter(
        [
            lambda: None,
            lambda: write_run([trial("a")]),
            lambda: None,
            lambda: write_run([trial("a"), trial("b", metric=0.9)]),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.commands.report.time.sleep", lambda seconds: next(looks)())
        watch(options, rounds=5)
    printed = capsys.readouterr()
    assert printed.err.count("not yet: ") == 2
    counts = [line for line in printed.out.splitlines() if " trials: " in line]
    assert counts == ["1 trials: 1 completed", "2 trials: 2 completed"]
    assert (
        '<script type="application/json" id="watch">1.0</script>'
        in (run_dir / "report.html").read_text()
    )


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


HEAVY = ("torch", "ray", "sweeps", "patchtrain.errors", "fsspec")
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
    run_dir = str(write_run([trial(f"t{i}", patch_size=2**i, metric=i / 9) for i in range(9)]))
    code = f"import analysis.cli; analysis.cli.main(['report', {run_dir!r}])"
    assert _heavy_modules_after(code) == "[]"


def test_the_import_check_can_fail() -> None:
    assert "'ray'" in _heavy_modules_after("import ray")


def test_what_is_read_is_never_written_over(
    write_run: Any, mixed_trials: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(write_run(mixed_trials)), "--out", str(tmp_path)])
    before = (tmp_path / "trials.csv").read_bytes()
    for command in ("report", "export"):
        read = str(tmp_path / ".." / tmp_path.name / "trials.csv")
        assert main([command, "--from-csv", read, "--out", str(tmp_path)]) == 2
        assert "trials.csv there is what is read, and must stay" in capsys.readouterr().err
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


def test_watching_sees_files_of_other_tools(tmp_path: Path) -> None:
    csv = tmp_path / "sweep.csv"
    csv.write_text("metric,peak_allocated_bytes\n0.5,10\n")
    words = ["report", "--from-csv", str(csv), "--out", str(tmp_path / "out"), "--watch", "1"]
    options = _parser().parse_args(words)
    page = tmp_path / "out" / "report.html"

    def look_again(seconds: float) -> None:
        written.append(page.stat().st_mtime_ns)
        if len(written) == 2:
            csv.write_text("metric,peak_allocated_bytes\n0.5,10\n0.6,20\n")

    written: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.commands.report.time.sleep", look_again)
        watch(options, rounds=4)
    assert written[0] == written[1] < written[2]


def test_the_page_that_watching_leaves_does_not_load_itself_again(
    write_run: Any, trial: Any
) -> None:
    run_dir = write_run([trial("a")])

    def interrupt(seconds: float) -> None:
        assert '<script type="application/json" id="watch">1.0' in page.read_text()
        raise KeyboardInterrupt

    page = run_dir / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.commands.report.time.sleep", interrupt)
        assert main(["report", str(run_dir), "--watch", "1"]) == 0
    assert '<script type="application/json" id="watch">null' in page.read_text()


def test_a_run_named_by_a_uri_is_not_written_over(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run([trial("a")])
    before = (run_dir / "trials.parquet").read_bytes()
    assert main(["export", run_dir.as_uri(), "--out", str(run_dir)]) == 2
    assert "trials.parquet there is what is read" in capsys.readouterr().err
    words = ["show", str(run_dir), "a", "--config", str(run_dir / "trials.parquet")]
    assert main(words) == 2
    assert "is a file of the run, which must stay" in capsys.readouterr().err
    assert (run_dir / "trials.parquet").read_bytes() == before
