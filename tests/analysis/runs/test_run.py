"""What is worked out of a run is worked out once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from analysis.numbers import columns
from analysis.page.export import exported
from analysis.page.report import write_report
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import Run, once


def test_a_function_under_once_runs_once_for_each_run(write_run: Any, trial: Any) -> None:
    seen: list[Run] = []

    @once
    def num_trials(run: Run) -> int:
        seen.append(run)
        return len(run.trials)

    first = load_run(write_run([trial("a")], name="first"))
    second = load_run(write_run([trial("a"), trial("b")], name="second"))
    assert [num_trials(run) for run in (first, second, first)] == [1, 2, 1]
    assert seen == [first, second]


def test_a_report_finds_the_front_once(
    write_run: Any, mixed_trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    non_dominated = columns.non_dominated
    monkeypatch.setattr(
        columns, "non_dominated", lambda *points: calls.append(1) or non_dominated(*points)
    )
    run = load_run(write_run(mixed_trials))
    write_report(run, tmp_path / "out")
    exported(run)
    assert len(calls) == 1


_OF_TWO = "The trials were measured on 2 different sets of images or labels"


def test_trials_on_different_data_are_not_compared_without_a_word(
    write_run: Any, trial: Any, capsys: Any
) -> None:
    same = write_run([trial("a", data_hash="x"), trial("b", data_hash="x")], name="same")
    other = write_run([trial("a", data_hash="y")], name="other")
    mixed = write_run([trial("a", data_hash="x"), trial("b", data_hash="y")], name="mixed")
    unknown = write_run([trial("a")], name="unknown")
    assert load_run(same).notices == load_run(unknown).notices == ()
    (notice,) = load_run(mixed).notices
    assert notice.startswith(_OF_TWO)
    (notice,) = join_runs([load_run(same), load_run(other)]).notices
    assert notice.startswith(_OF_TWO) and "x: 2" in notice and "y: 1" in notice
    assert join_runs([load_run(same), load_run(unknown)]).notices == ()
    assert len(join_runs([load_run(same), load_run(mixed)]).notices) == 1
    for command in (["compare", str(same), str(other)], ["best", str(same), str(other)]):
        assert main(command) in (0, 1)
        assert _OF_TWO in capsys.readouterr().err
