"""`compare`: what is printed, and its exit status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analysis.cli import main
from patchtrain.record import TrialStatus

GB = 10**9


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
