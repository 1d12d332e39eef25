"""What holds the memory of the front."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_run import write_made_up_run
from report_parts import charts_of

from analysis.draw.charts import Bars
from analysis.numbers.selection import best_per_budget
from analysis.runs.load import load_run
from analysis.sections.memory import MOST_TRIALS, attributions

GB = 10**9


def test_bars_of_the_memory_add_up_to_the_peak(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 60))
    (panel,) = charts_of(run)["memory"].panels
    assert all(isinstance(each, Bars) for each in panel.series)
    recorded = dict(zip(run.trials["trial_id"], run.trials["peak_allocated_bytes"], strict=True))
    for place, category in enumerate(panel.y.categories):
        total = sum(bars.lengths[place] for bars in panel.series)
        assert total * GB == pytest.approx(recorded[category.split(":")[0]])


PARTS = {
    "peak_parameters_bytes": 100,
    "peak_gradients_bytes": 100,
    "peak_optimizer_bytes": 200,
    "peak_activations_bytes": 500,
    "peak_latent_bytes": 60,
    "peak_input_bytes": 40,
}


def test_memory_of_the_front_is_told_with_what_lowers_it(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", peak_allocated_bytes=1000, peak_phase="inner_iteration", **PARTS),
        trial("beaten", metric=0.1, peak_allocated_bytes=1000, **PARTS),
        trial("unknown", metric=0.1, peak_allocated_bytes=10),
        trial(
            "full",
            metric=0.9,
            method="full",
            peak_allocated_bytes=1100,
            **PARTS | {"peak_latent_bytes": 0},
        ),
    ]
    first, second = attributions(load_run(write_run(trials)))
    assert (first.trial_id, first.peak_bytes, first.phase) == ("a", 1000, "inner_iteration")
    assert sum(first.parts_bytes.values()) == 1000
    assert first.advice.startswith("activations 50%: patch_microbatch: auto")
    # what is in no part is told as such
    assert second.parts_bytes["other"] == 160
    assert "a patch method" in second.advice


def test_a_long_front_is_thinned_but_keeps_the_best_of_each_budget(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 3000))
    found = [each.trial_id for each in attributions(run)]
    assert len(found) == MOST_TRIALS
    assert {a.trial["trial_id"] for a in best_per_budget(run) if a.trial} <= set(found)
