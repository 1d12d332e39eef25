"""Fabricated runs, written as a sweep writes them. Nothing is trained here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from patchtrain.record import EpochRecord, TrialRecord, TrialStatus, write_rows

GB = 10**9

MakeTrial = Callable[..., TrialRecord]
WriteRun = Callable[..., Path]


def make_trial(trial_id: str, **changes: Any) -> TrialRecord:
    """Return a completed trial of 0.5 accuracy and 1 GB peak within 2 GB, with `changes`."""
    values: dict[str, Any] = {
        "trial_id": trial_id,
        "sweep": "panda_budget",
        "status": TrialStatus.COMPLETED,
        "task": "classification",
        "dataset": "panda",
        "data_is_sample": False,
        "method": "local_global",
        "image_size": 512,
        "patch_size": 128,
        "sampling_rate": 0.2,
        "num_sampled": 3,
        "inner_iterations": 4,
        "fusion": "add",
        "backbone": "resnet18",
        "aggregator": "same",
        "norm": "batch",
        "precision": "fp32",
        "batch_size": 4,
        "accumulation_steps": 1,
        "learning_rate": 1e-3,
        "patch_microbatch": "none",
        "budget_bytes": 2 * GB,
        "predicted_peak_bytes": None,
        "peak_allocated_bytes": GB,
        "cap_level": "meter",
        "metric_name": "accuracy",
        "metric": 0.5,
        "epochs": 3,
        "epochs_done": 3,
        "train_time_s": 12.5,
        "seed": 0,
        "device": "cpu",
        "started_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "versions": json.dumps({"torch": "2.15.0"}),
    }
    values |= changes
    values.setdefault("metrics", {"accuracy": values["metric"], "macro_f1": 0.25})
    return TrialRecord(**values)


def make_epoch(trial_id: str, epoch: int, metric: float | None) -> EpochRecord:
    """Return one epoch of a trial."""
    return EpochRecord(
        trial_id=trial_id,
        epoch=epoch,
        train_loss=1.0 / epoch,
        learning_rate=1e-3,
        metric_name="accuracy",
        metric=metric,
        metrics={"accuracy": metric},
        train_time_s=1.0,
        validation_time_s=0.5,
        images_per_s=10.0,
    )


@pytest.fixture
def trial() -> MakeTrial:
    """Makes one trial record."""
    return make_trial


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes trials (and three epochs of each that completed) as a RUN_DIR; returns the folder."""

    def write(
        trials: Sequence[TrialRecord], *, name: str = "run", sweep: dict[str, Any] | None = None
    ) -> Path:
        run_dir = tmp_path / name
        write_rows(run_dir / "trials.parquet", TrialRecord, [each.to_row() for each in trials])
        epochs = [
            make_epoch(
                each.trial_id, epoch, None if each.metric is None else each.metric * epoch / 3
            )
            for each in trials
            if each.status is TrialStatus.COMPLETED
            for epoch in (1, 2, 3)
        ]
        write_rows(run_dir / "epochs.parquet", EpochRecord, [each.to_row() for each in epochs])
        for each in trials:
            folder = run_dir / "trials" / each.trial_id
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text("dataset: panda\n")
        if sweep is not None:
            (run_dir / "sweep.json").write_text(json.dumps(sweep))
        return run_dir

    return write


@pytest.fixture
def mixed_trials(trial: MakeTrial) -> list[TrialRecord]:
    """A sweep over 1 GB and 2 GB with every status; t1, t3 and t4 are the front."""
    return [
        trial("t1", metric=0.5, peak_allocated_bytes=400_000_001, budget_bytes=GB),
        trial("t2", metric=0.45, peak_allocated_bytes=700_000_000, budget_bytes=GB, patch_size=64),
        trial("t3", metric=0.6180339887, peak_allocated_bytes=900_000_000, fusion="concat"),
        trial("t4", metric=0.71234567891, peak_allocated_bytes=1_900_000_123, backbone="resnet50"),
        trial("t5", metric=0.7, peak_allocated_bytes=1_950_000_000, method="downsampled"),
        trial(
            "t6",
            status=TrialStatus.OUT_OF_MEMORY,
            metric=None,
            peak_allocated_bytes=1_990_000_000,
            error="budget 2GB exceeded in inner_iteration",
        ),
        trial(
            "t7",
            status=TrialStatus.PREDICTED_INFEASIBLE,
            metric=None,
            peak_allocated_bytes=None,
            predicted_peak_bytes=2_600_000_000,
            epochs_done=0,
        ),
        trial("t8", status=TrialStatus.STOPPED_EARLY, metric=0.9, peak_allocated_bytes=500_000_000),
        trial("t9", status=TrialStatus.FAILED, metric=None, error="worker died"),
    ]
