"""The command that trains a trial again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from analysis.numbers.rerun import command_of
from analysis.numbers.selection import (
    answer,
)
from analysis.runs.load import load_run

GB = 10**9


def test_command_is_quoted_and_names_the_config_of_the_trial(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a b;rm -rf ~'")], name="my run")
    words = shlex.split(str(answer(load_run(run_dir), 2 * GB).command))
    config = run_dir / "trials" / "a b;rm -rf ~'" / "config.yaml"
    assert config.exists()
    assert words == ["patchtrain", "train", str(config), "--out", "trained/a b;rm -rf ~'"]


def test_command_holds_the_rerun_to_the_budget_that_was_asked(write_run: Any, trial: Any) -> None:
    run = load_run(write_run([trial("a", budget_bytes=8 * GB, peak_allocated_bytes=GB)]))
    commands = [str(answer(run, budget).command) for budget in (8 * GB, 2 * GB, 1234567890)]
    assert "--set" not in commands[0]
    assert "--set budget=2GB" in commands[1]
    assert "--set budget=1234567890B" in commands[2]


def test_a_run_behind_a_uri_has_a_command_that_fetches_the_configuration(
    write_run: Any, trial: Any
) -> None:
    run_dir = write_run([trial("a b")])
    run = load_run(run_dir.as_uri())
    command = str(answer(run, 2 * GB).command)
    fetch, train = command.split(" && ")
    assert shlex.split(fetch) == [
        *["python", "-m", "analysis", "show", run_dir.as_uri(), "a b", "--config", "a b.yaml"]
    ]
    assert shlex.split(train) == ["patchtrain", "train", "a b.yaml", "--out", "trained/a b"]


def test_a_trial_without_a_folder_has_no_command(write_run: Any, trial: Any) -> None:
    run = load_run(write_run([trial("a")]))
    without = replace(run, folders={})
    assert command_of(without, {"run": "run", "trial_id": "a"}) is None
    assert answer(without, 2 * GB).command is None
