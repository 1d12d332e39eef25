"""`report`: what is printed, where it goes, and watching a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.cli import _parser, main
from analysis.commands.report import watch


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
