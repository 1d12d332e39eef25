"""Data that goes away during a sweep is no verdict on a configuration."""

from __future__ import annotations

import shutil

import pytest
from integration.sweep_process import by_id, check_studies, rows_of, run_sweep, starter, wait_until

from patchtrain.datasets import data_set

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

NUM_TRIALS = 6


@pytest.fixture
def data_dir(tmp_path):
    data_set("panda").write_sample(tmp_path / "data", num_images=24, image_size=128, seed=0)
    return tmp_path / "data"


def test_trials_whose_data_went_away_run_again(tmp_path, data_dir):
    out = tmp_path / "run"
    options = ["--data-dir", str(data_dir), "--num-trials", str(NUM_TRIALS), "--budgets", "100MB"]
    options += ["--max-concurrent", "1"]
    with starter() as start:
        sweep = start(out, *options)
        wait_until(lambda: rows_of(out), sweep)
        away = shutil.move(data_dir, tmp_path / "away")
        said, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 1, errors
    assert "3 trials in a row failed for the same reason outside them" in errors
    assert "continue with: python" in said and "--resume" in said
    before = rows_of(out)
    failed = [row["trial_id"] for row in before if row["status"] == "failed"]
    assert len(failed) == 3
    assert {row["failed_by"] for row in before if row["trial_id"] in failed} == {"environment"}

    shutil.move(away, data_dir)
    status, said, errors = run_sweep(out, *options, "--resume")
    assert status == 0, errors
    rows = by_id(rows_of(out))
    assert len([row for row in rows.values() if row["status"] == "completed"]) == NUM_TRIALS
    assert failed and all(rows[trial_id]["status"] == "completed" for trial_id in failed)
    kept = [row for row in before if row["status"] == "completed"]
    assert all(rows[row["trial_id"]] == row for row in kept)
    check_studies(out, rows)
