"""MLflow: one run per trial, on a tracking server or in a file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import mlflow
from ray.air.integrations.mlflow import MLflowLoggerCallback

_ENVIRONMENT = {
    # Tune waits for the server: minutes of retries, the default, would delay every trial
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment of MLflow; values set before are kept."""


class MLflow(MLflowLoggerCallback):
    """Ray's logger, which also sets the trial's status as a tag."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Set the tag, and end the run."""
        mlflow.MlflowClient().set_tag(self._trial_runs[trial], "status", trial.status)
        super().log_trial_end(trial, failed)


def make_logger(sweep: str, out: Path) -> MLflow:
    """Return the logger to MLFLOW_TRACKING_URI, or to a SQLite file in `out`.

    Args:
        sweep: name of the experiment, unless MLFLOW_EXPERIMENT_NAME gives another.
        out: folder of the sweep.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic"):  # they report each table that is created
            logging.getLogger(name).setLevel(logging.WARNING)
    return MLflow(
        os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out / 'mlflow.db'}",
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME") or sweep,
        tags={"sweep": sweep, "run_dir": str(out)},
    )
