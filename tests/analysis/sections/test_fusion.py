"""Pairs of add and concat."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.runs.load import load_run
from analysis.sections.fusion import fusion_pairs
from patchtrain.record import TrialStatus

GB = 10**9


def test_pairs_differ_in_fusion_alone(write_run: Any, trial: Any) -> None:
    concat = {"fusion": "concat", "peak_allocated_bytes": 1_100_000_000}
    trials = [
        trial("a", metric=0.5),
        trial("b", metric=0.6, **concat),
        trial("other_patch", metric=0.9, patch_size=64, **concat),
        trial("other_seed", metric=0.1, seed=1, **concat),
        trial("c", metric=0.5, seed=2, budget_bytes=8 * GB),
        trial("d", metric=0.4, seed=2, patch_microbatch="auto", **concat),
        trial("stopped", status=TrialStatus.STOPPED_EARLY, seed=3),
        trial("e", seed=3, **concat),
        trial("patchgd", method="patchgd", seed=4),
        trial("patchgd_concat", method="patchgd", seed=4, **concat),
    ]
    found = fusion_pairs(load_run(write_run(trials)))
    assert [(pair.add, pair.concat) for pair in found.pairs] == [("a", "b"), ("c", "d")]
    assert [pair.metric_gain for pair in found.pairs] == pytest.approx([0.1, -0.1])
    assert [pair.added_bytes for pair in found.pairs] == [100_000_000] * 2
    assert found.mean_gain == pytest.approx(0.0)
    assert (found.num_better, found.num_worse) == (1, 1)
    assert found.median_peak_ratio == pytest.approx(1.1)
    # Student's t with one degree of freedom: 12.706 * deviation / sqrt(2)
    assert found.half_width == pytest.approx(12.7062 * 0.141421 / 2**0.5, rel=1e-4)


def test_of_equal_configurations_the_one_of_least_peak_makes_the_pair(
    write_run: Any, trial: Any
) -> None:
    trials = [
        trial("large", metric=0.1, peak_allocated_bytes=2 * GB),
        trial("small", metric=0.5),
        trial("concat", metric=0.6, fusion="concat"),
    ]
    (pair,) = fusion_pairs(load_run(write_run(trials))).pairs
    assert (pair.add, pair.concat) == ("small", "concat")


def test_no_pairs_is_no_mean(write_run: Any, trial: Any) -> None:
    found = fusion_pairs(load_run(write_run([trial("a")])))
    assert (found.pairs, found.mean_gain, found.half_width) == ((), None, None)
