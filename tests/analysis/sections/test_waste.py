"""Where trials and time went."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.runs.load import load_run
from analysis.sections.waste import Outcome, spent

GB = 10**9


def test_every_trial_has_one_outcome(write_run: Any, mixed_trials: Any, trial: Any) -> None:
    more = [
        trial("over", peak_allocated_bytes=3 * GB, metric=0.2),
        trial("t1-s1", group="t1", seed=1, started_at=None, train_time_s=None),
    ]
    found = {each.outcome: each for each in spent(load_run(write_run([*mixed_trials, *more])))}
    assert {outcome: each.num_trials for outcome, each in found.items()} == {
        Outcome.FRONT: 3,
        Outcome.DOMINATED: 2,
        Outcome.REPLICATE: 1,
        Outcome.STOPPED: 1,
        Outcome.OVER_BUDGET: 1,
        Outcome.OUT_OF_MEMORY: 1,
        Outcome.FAILED: 1,
        Outcome.REFUSED: 1,
    }
    assert found[Outcome.FRONT].hours == pytest.approx(3 * 12.5 / 3600)
    assert found[Outcome.REPLICATE].num_untimed == 1
    # it never ran, so it has no time that could be unknown
    assert (found[Outcome.REFUSED].hours, found[Outcome.REFUSED].num_untimed) == (0.0, 0)
