"""Records of trials without a trainer: never launched, or dead before it was built.

Knows nothing of files and Ray.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

import torch

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.errors import ConfigError, one_line
from patchtrain.faults import failed_by
from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.recording import new_record
from patchtrain.units import format_bytes
from sweeps.search.prediction import Prediction


def unstarted_record(
    config: TrialConfig,
    trial_id: str,
    sweep: str | None,
    error: BaseException,
    started_at: datetime | None = None,
    group: str | None = None,
) -> TrialRecord:
    """Return the record of a trial that ended before it had a trainer."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    status = TrialStatus.OUT_OF_MEMORY if out_of_memory else TrialStatus.FAILED
    record = _record(config, trial_id, sweep, status)
    return dataclasses.replace(
        record,
        error=one_line(error),
        failed_by=failed_by(error) if status is TrialStatus.FAILED else None,
        started_at=started_at,
        group=group,
    )


def infeasible_record(
    config: TrialConfig, trial_id: str, sweep: str | None, prediction: Prediction | ConfigError
) -> TrialRecord:
    """Return the record of a trial that was not launched.

    Args:
        prediction: what it would need, or why its networks cannot be trained.
    """
    record = _record(config, trial_id, sweep, TrialStatus.PREDICTED_INFEASIBLE)
    if isinstance(prediction, ConfigError):
        error = f"not launched: {' '.join(str(prediction).split())}"
        return dataclasses.replace(record, error=error, group=trial_id)
    return dataclasses.replace(
        record,
        predicted_peak_bytes=prediction.predicted_peak_bytes,
        predicted_reserved_bytes=prediction.predicted_reserved_bytes,
        error=f"not launched: needs {prediction.needed_bytes} bytes, over the budget of "
        f"{format_bytes(config.budget)}",
        group=trial_id,
    )


def _record(
    config: TrialConfig, trial_id: str, sweep: str | None, status: TrialStatus
) -> TrialRecord:
    return new_record(
        config,
        trial_id=trial_id,
        sweep=sweep,
        status=status,
        num_classes=num_classes(config),
        data_is_sample=config.data_dir is None,
    )
