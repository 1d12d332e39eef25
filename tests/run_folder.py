"""The sweep of a run folder, made up, and rows of its trials."""

import dataclasses
from datetime import datetime, timezone

from patchtrain.config import TrialConfig
from patchtrain.record import EpochRecord
from sweeps.results.records import unstarted_record
from sweeps.search.patch_space import patch_space

DESCRIPTION = {
    "sweep": "test",
    "budgets_bytes": [1000, 2000],
    "space": patch_space(TrialConfig()).describe(),
    "settings": {"epochs": 2, "backbone": "resnet18"},
    "started_at": "2026-01-01",
}


def record_of(trial_id, **changes):
    record = unstarted_record(
        TrialConfig(budget=1000), trial_id, "test", RuntimeError("gone"), datetime.now(timezone.utc)
    )
    return dataclasses.replace(record, **changes)


def epoch_of(trial_id, epoch, loss=1.0, **changes):
    return EpochRecord(
        trial_id=trial_id,
        epoch=epoch,
        train_loss=loss,
        learning_rate=1e-3,
        metric_name="accuracy",
        metric=0.5,
        train_time_s=1.0,
        validation_time_s=1.0,
        images_per_s=1.0,
        **changes,
    ).to_row()


def ids_of(records):
    return [record.trial_id for record in records]
