"""A RUN_DIR of made-up trials, as large as is asked for, in the layout that a sweep writes.

Metrics and peaks follow from the settings by made-up rules with noise; nothing was trained.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from patchtrain.record import EpochRecord, TrialRecord, TrialStatus, write_rows

GB = 10**9
BUDGETS = (4 * GB, 8 * GB, 16 * GB)
IMAGE_SIZE = 4096
PARTS = ("parameters", "gradients", "optimizer", "activations", "latent", "input")


def write_made_up_run(
    run_dir: Path,
    num_trials: int,
    *,
    seed: int = 0,
    num_epochs: int = 5,
    num_repeated: int = 3,
    data_is_sample: bool = False,
    with_configs: bool = False,
) -> Path:
    """Write trials.parquet, epochs.parquet and sweep.json into `run_dir`; return it.

    Args:
        run_dir: made if need be.
        num_trials: without the replicates.
        seed: of everything random.
        num_epochs: of each trial that completed.
        num_repeated: how many of the best trials have two more seeds.
        data_is_sample: what the trials say of their data.
        with_configs: whether each trial has a config.yaml.
    """
    random = np.random.default_rng(seed)
    trials = [_trial(index, random, num_epochs, data_is_sample) for index in range(num_trials)]
    trials += _replicates(trials, num_repeated, random)
    rows = [trial.to_row() for trial in trials]
    write_rows(run_dir / "trials.parquet", TrialRecord, rows)
    epochs = [row for trial in trials for row in _epochs(trial, random)]
    write_rows(run_dir / "epochs.parquet", EpochRecord, epochs)
    (run_dir / "sweep.json").write_text(
        json.dumps(
            {
                "sweep": "panda_budget",
                "command": ["python", "sweeps/panda_budget.py", "--data-dir", "my slides"],
                "budgets_bytes": list(BUDGETS),
                "num_trials": num_trials,
                "space": {name: {} for name in ("patch_size", "sampling_rate", "fusion")},
                "started_at": "2025-01-02T03:04:05+00:00",
                "versions": {"ray": "2.60.0", "torch": "2.15.0"},
            }
        )
    )
    for trial in trials if with_configs else []:
        folder = run_dir / "trials" / trial.trial_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text("dataset: panda\n")
    return run_dir


def _trial(index: int, random: Any, num_epochs: int, data_is_sample: bool) -> TrialRecord:
    method = str(random.choice(["local_global", "local_global", "local_global", "patchgd"]))
    patch_size = int(random.choice([128, 256, 512]))
    sampling_rate = float(np.exp(random.uniform(np.log(0.02), np.log(0.5))))
    if random.random() < 0.5:
        sampling_rate = float(random.choice([0.05, 0.1, 0.2]))
    inner = int(random.integers(1, 13))
    fusion = str(random.choice(["add", "concat"]))
    backbone = str(random.choice(["resnet18", "resnet50"]))
    budget = int(random.choice(BUDGETS))
    num_patches = (IMAGE_SIZE // patch_size) ** 2
    num_sampled = max(1, int(sampling_rate * num_patches))
    weights = 45_000_000 if backbone == "resnet18" else 95_000_000
    parts = {
        "parameters": weights,
        "gradients": weights,
        "optimizer": 2 * weights,
        "activations": int(
            4 * num_sampled * patch_size**2 * (190 if backbone == "resnet18" else 420)
        ),
        "latent": num_patches * 4 * 512 * (2 if fusion == "concat" else 1),
        "input": 4 * num_sampled * patch_size**2 * 12,
    }
    peak = sum(parts.values())
    metric = (
        0.45
        + 0.06 * np.log2(num_sampled * patch_size / 256 + 1) / 4
        + (0.05 if backbone == "resnet50" else 0.0)
        + (0.04 if method == "local_global" else 0.0)
        + (0.01 if fusion == "add" and method == "local_global" else 0.0)
        + 0.01 * np.log(inner)
        + random.normal(0, 0.02)
    )
    status, error, measured = TrialStatus.COMPLETED, None, peak
    if peak > budget:
        status = TrialStatus.PREDICTED_INFEASIBLE
        if random.random() < 0.1:
            status, measured = TrialStatus.OUT_OF_MEMORY, int(budget * random.uniform(0.9, 1))
            error = "budget exceeded in inner_iteration"
    elif random.random() < 0.1:
        status = TrialStatus.STOPPED_EARLY
    elif random.random() < 0.02:
        status, error = TrialStatus.FAILED, "worker died"
    refused = status is TrialStatus.PREDICTED_INFEASIBLE
    has_result = status in (TrialStatus.COMPLETED, TrialStatus.STOPPED_EARLY)
    started = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc) + timedelta(minutes=7 * index)
    hours = 0.1 + 0.02 * inner
    trial_id = f"{index:05d}"
    return TrialRecord(
        trial_id=trial_id,
        sweep="panda_budget",
        group=trial_id,
        status=status,
        task="classification",
        dataset="panda",
        data_is_sample=data_is_sample,
        method=method,
        image_size=IMAGE_SIZE,
        patch_size=patch_size,
        sampling_rate=sampling_rate,
        num_sampled=num_sampled,
        inner_iterations=inner,
        fusion=fusion,
        backbone=backbone,
        aggregator="same",
        norm="batch",
        precision="fp32",
        batch_size=4,
        accumulation_steps=1,
        learning_rate=1e-3,
        patch_microbatch="none",
        budget_bytes=budget,
        predicted_peak_bytes=peak,
        peak_allocated_bytes=None if refused else measured,
        peak_reserved_bytes=None if refused else int(measured * 1.08),
        peak_process_bytes=None if refused else int(measured * 1.08) + 400_000_000,
        peak_phase=None if refused else "inner_iteration",
        **{f"peak_{part}_bytes": parts[part] if has_result else None for part in PARTS},
        cap_level="allocator+watchdog",
        metric_name="accuracy",
        metric=float(metric) if has_result else None,
        metrics={"accuracy": float(metric) if has_result else None},
        epochs=num_epochs,
        epochs_done=num_epochs if status is TrialStatus.COMPLETED else int(has_result),
        train_time_s=None if refused else 3600 * hours,
        images_per_s=None if refused else 2.5,
        num_parameters=weights // 4,
        seed=0,
        device="cuda",
        error=error,
        started_at=None if refused else started,
        finished_at=None if refused else started + timedelta(hours=hours),
        versions=json.dumps({"torch": "2.15.0", "patchtrain": "0.1.0"}),
    )


def _replicates(trials: list[TrialRecord], num_repeated: int, random: Any) -> list[TrialRecord]:
    completed = [t for t in trials if t.status is TrialStatus.COMPLETED and t.metric is not None]
    best = sorted(completed, key=lambda trial: -(trial.metric or 0))[:num_repeated]
    found = []
    for trial in best:
        for seed in (1, 2):
            row = trial.to_row()
            metric = row["metric"] + float(random.normal(0, 0.015))
            row |= {"trial_id": f"{trial.trial_id}-s{seed}", "seed": seed}
            found.append(TrialRecord.from_row(row | {"metric": metric, "metric_accuracy": metric}))
    return found


def _epochs(trial: TrialRecord, random: Any) -> list[dict[str, Any]]:
    if trial.metric is None:
        return []
    return [
        EpochRecord(
            trial_id=trial.trial_id,
            epoch=epoch,
            train_loss=2.0 / epoch,
            learning_rate=1e-3,
            metric_name="accuracy",
            metric=trial.metric
            * (1 - 0.5 * np.exp(-2 * epoch / trial.epochs_done) + 0.5 * np.exp(-2)),
            metrics={},
            train_time_s=1.0,
            validation_time_s=0.5,
            images_per_s=10.0,
            global_gradient_share=None if trial.method == "patchgd" else 0.3 + 0.4 / epoch,
            global_size=None if trial.method == "patchgd" else 1.5,
        ).to_row()
        for epoch in range(1, trial.epochs_done + 1)
    ]
