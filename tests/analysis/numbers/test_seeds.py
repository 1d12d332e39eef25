"""Configurations over several seeds."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.numbers.seeds import Seeds, all_seeds, sure_front
from analysis.runs.join import join_runs
from analysis.runs.load import load_run

GB = 10**9


def test_lower_bound_is_that_of_students_t() -> None:
    # 0.62, 0.61, 0.60: mean 0.61, deviation 0.01; t(0.95, 2) = 2.9200
    found = Seeds(mean=0.61, deviation=0.01, lowest=0.6, highest=0.62, num_seeds=3)
    assert found.lower_bound(0.95) == pytest.approx(0.61 - 2.91999 * 0.01 / 3**0.5, abs=1e-6)


def test_seeds_of_runs_with_equal_names_are_kept_apart(write_run: Any, trial: Any) -> None:
    trials = [trial("a", metric=0.6, group="a"), trial("a-s1", metric=0.5, group="a", seed=1)]
    first = load_run(write_run(trials, name="x/run"))
    second = load_run(write_run([trial("a", metric=0.1, group="a")], name="y/run"))
    assert list(all_seeds(join_runs([first, second]))) == [("run", "a")]


def test_what_every_seed_reaches_is_their_worst_front(repeated: Any) -> None:
    # seed 0: a 0.9 at 1000, b 0.62 at 1500; seed 1: 0.3 at 1010, 0.61 at 1510; seed 2: 0.6 at 1020,
    # 0.6 at 1520
    peaks, metrics = sure_front(repeated, "run")
    assert list(zip(peaks.tolist(), metrics.tolist(), strict=True)) == [
        (1020, 0.3),
        (1510, 0.3),
        (1510, 0.6),
    ]


def test_without_several_seeds_nothing_is_sure(write_run: Any, trial: Any) -> None:
    peaks, metrics = sure_front(load_run(write_run([trial("a", group="a")])), "run")
    assert (peaks.size, metrics.size) == (0, 0)
