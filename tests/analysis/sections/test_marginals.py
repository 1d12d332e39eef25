"""Metric by the value of each of the four settings."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.runs.load import load_run
from analysis.sections.marginals import marginals


def test_marginals_are_quartiles_of_what_reads_the_setting(write_run: Any, trial: Any) -> None:
    trials = [
        trial(f"t{i}", patch_size=64, metric=i / 10, peak_allocated_bytes=10 + i) for i in range(5)
    ]
    trials += [
        trial("big", patch_size=128, metric=0.9),
        trial("full", method="full", patch_size=256),
    ]
    (patch_size,) = marginals(load_run(write_run(trials)))
    first, second = patch_size.levels
    assert (first.label, first.num_trials, first.median, first.best) == ("64", 5, 0.2, 0.4)
    assert first.quartiles == pytest.approx((0.1, 0.3))
    assert first.median_peak_bytes == 12
    assert (second.label, second.best) == ("128", 0.9)


def test_settings_of_many_values_are_cut_into_parts(write_run: Any, trial: Any) -> None:
    trials = [trial(f"t{i}", sampling_rate=0.01 * (i + 1), metric=0.1) for i in range(60)]
    (rate,) = marginals(load_run(write_run(trials)))
    assert [level.num_trials for level in rate.levels] == [10] * 6
    assert rate.levels[0].label == "0.01\N{EN DASH}0.1"
