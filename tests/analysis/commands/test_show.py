"""`show`: everything about one trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from patchtrain.record import TrialStatus


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
