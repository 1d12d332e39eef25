"""`best`: what is printed, as text and as JSON."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from analysis.cli import main

GB = 10**9


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


def test_best_says_that_the_configuration_is_missing(
    write_run: Any, trial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "trials" / "a" / "config.yaml").unlink()
    assert main(["best", str(run_dir)]) == 0
    assert "config.yaml is missing" in capsys.readouterr().out


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
