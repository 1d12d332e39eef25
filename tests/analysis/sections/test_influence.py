"""What the global patch does: means by form, as they were recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from run_folder import epoch_of

from analysis.runs.load import load_run
from analysis.sections.influence import SECTION, influence_chart, influences
from patchtrain.record import EpochRecord, write_rows


def write_epochs(run_dir: Any, shares: dict[str, list[float | None]]) -> None:
    rows = [
        epoch_of(
            trial_id,
            epoch,
            global_gradient_share=share,
            global_size=None if share is None else 2 * share,
        )
        for trial_id, values in shares.items()
        for epoch, share in enumerate(values, 1)
    ]
    write_rows(run_dir / "epochs.parquet", EpochRecord, rows)


def test_each_form_has_the_means_of_its_trials(write_run: Any, trial: Any) -> None:
    filled = {"global_pass": "filled", "fusion_scale": "0.0"}
    trials = [
        *(replace(trial(name), fusion="add", settings={"global_pass": "joint"}) for name in "abd"),
        replace(trial("c"), fusion="concat", settings=filled),
    ]
    run_dir = write_run(trials)
    write_epochs(run_dir, {"a": [0.8, 0.6], "b": [0.4], "c": [0.0, 0.0], "d": [None, None]})
    few, both = influences(load_run(run_dir))
    assert (few.form, few.num_trials) == ("filled concat scaled", 1)
    assert few.shares == (0, 0)
    assert (both.form, both.num_trials) == ("joint add", 2)
    assert both.epochs == (1, 2)
    assert both.shares == pytest.approx((60, 60))
    assert both.sizes == pytest.approx((1.2, 1.2))
    left, right = influence_chart([few, both]).panels
    assert left.series[1].y == pytest.approx([60, 60])
    assert "joint add, 2 trials" in left.series[1].hover[0]
    assert right.series[0].in_legend is False


def test_runs_without_such_epochs_say_so(write_run: Any, mixed_trials: Any) -> None:
    run_dir = write_run(mixed_trials)
    (block,) = SECTION.build(load_run(run_dir))
    assert "No trial with a global patch" in block.text
    path = run_dir / "epochs.parquet"  # of an earlier version
    pd.read_parquet(path).drop(columns=["global_gradient_share", "global_size"]).to_parquet(path)
    (block,) = SECTION.build(load_run(run_dir))
    assert "No trial with a global patch" in block.text
