"""wandb (Weights & Biases): one run per trial, each logged by a process of its own.

Imports no torch, since those processes import this module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor

_STATUS = "status"

_UPLOAD_TIMEOUT_S = 300
"""Time for uploads after the last trial; what is not sent by then stays in the folder of wandb."""


class WandbActor(_WandbLoggingActor):
    """Ray's actor, which logs one trial in its own process; adds the status to the summary.

    Args:
        environment: variables of the sweep's process to set in this one.
    """

    def __init__(self, *args: Any, environment: dict[str, str], **kwargs: Any) -> None:
        os.environ.update(environment)  # before wandb is imported
        super().__init__(*args, **kwargs)

    def _handle_result(self, result: dict[str, Any]) -> tuple[dict, dict]:
        if _STATUS in result:
            self._wandb.run.summary[_STATUS] = result.pop(_STATUS)
        return super()._handle_result(result)


class Wandb(WandbLoggerCallback):
    """Ray's logger, with the trial's status; raises the errors of its processes."""

    _logger_actor_cls = WandbActor

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Send the status, and end the run."""
        self.log_trial_result(0, trial, {_STATUS: trial.status})
        futures = list(self._trial_logging_futures.values())
        super().log_trial_end(trial, failed)
        _raise_errors(futures)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait for uploads."""
        futures = list(self._trial_logging_futures.values())
        super().on_experiment_end(trials, **info)
        _raise_errors(futures)


def make_logger(sweep: str, out: Path) -> Wandb:
    """Return the logger; runs are kept in `out`/wandb, unless WANDB_DIR gives another folder.

    Args:
        sweep: name of the project, unless WANDB_PROJECT gives another.
        out: folder of the sweep; runs are grouped by its name.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    return Wandb(
        project=os.environ.get("WANDB_PROJECT") or sweep,
        group=os.environ.get("WANDB_RUN_GROUP") or out.name,
        upload_timeout=_UPLOAD_TIMEOUT_S,
        environment={"WANDB_DIR": str(out), **given},
    )


def _raise_errors(futures: list[ray.ObjectRef]) -> None:
    """Raise the error that ended one of the actors behind `futures`; Ray never checks."""
    ray.get(ray.wait(futures, num_returns=len(futures), timeout=0)[0])
