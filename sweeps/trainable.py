"""`BudgetTrainable`: one trial as Tune sees it, a step an epoch. Knows nothing of search and files.

Out of memory and errors of the trainer are results, not crashes: every result carries the trial's
record so far, so whatever ends a trial there is a row to write.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from ray import tune

from patchtrain.config import TrialConfig
from patchtrain.models.network import aggregator_name
from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.tasks.classification import Classification
from patchtrain.trainer import Trainer

RECORD = "record"
"""Key of a result: the trial's record so far, as a row."""

EPOCH = "epoch"
"""Key of a result: the row of the epoch that it reports; None where none was finished."""

CHECKPOINT = "checkpoint"
"""Key of a trial's Tune configuration: folder of a checkpoint to go on from, or None."""

_STATE = "trainer"
"""Folder of the trainer's state within a checkpoint, beside what Tune puts there."""


class WorkerSpent(RuntimeError):
    """Raised after the last result of a trial, to have its worker thrown away."""


class BudgetTrainable(tune.Trainable):
    """One trial: `config` holds `trial_id`, `sweep`, `config` (a `TrialConfig`), `checkpoint`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the trainer is made by the first step, which can report."""
        self._trial_id: str = config["trial_id"]
        self._sweep: str = config["sweep"]
        self._config: TrialConfig = config["config"]
        self._trainer: Trainer | None = None
        self._checkpoint: str | None = config.get(CHECKPOINT)
        self._is_over = False
        self._started_at = datetime.now(timezone.utc)
        torch.set_num_threads(self._num_cpus())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial into this process, whose imports are paid for."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; the last result has `done`."""
        if self._is_over:
            raise WorkerSpent("out of memory on a GPU: the next trial gets a fresh process")
        try:
            trainer = self._ready_trainer()
            epoch = trainer.run_epoch().to_row() if not trainer.finished else None
            return self._result(trainer.record(), epoch, done=trainer.finished)
        except Exception as error:  # whatever it is, it is this trial's result
            return self._final_result(error)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write weights, optimizer and random state."""
        assert self._trainer is not None
        self._trainer.save(Path(checkpoint_dir) / _STATE)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint, once the first step makes the trainer."""
        # Tune removes its own copy of the checkpoint after this call, so read it now
        self._checkpoint = str(checkpoint)
        self._ready_trainer()

    def cleanup(self) -> None:
        """Free the memory of the trial."""
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def _ready_trainer(self) -> Trainer:
        if self._trainer is None:
            self._trainer = Trainer(self._config, trial_id=self._trial_id, sweep=self._sweep)
            _ = self._trainer.estimate  # recorded with whatever the trial will measure
            self._trainer.check_fits()
            if self._checkpoint is not None and (Path(self._checkpoint) / _STATE).is_dir():
                self._trainer.load(Path(self._checkpoint) / _STATE)
        return self._trainer

    def _final_result(self, error: Exception) -> dict[str, Any]:
        """Return the result of a trial that `error` ended, and free its memory."""
        if self._trainer is not None:
            record = self._trainer.record(error)
        else:
            record = unstarted_record(
                self._config, self._trial_id, self._sweep, error, self._started_at
            )
        error.__traceback__ = None  # its frames hold the tensors that were too many
        self.cleanup()
        # A CUDA process is not what it was after running out of memory. Tune keeps workers whose
        # trial ended well, so this trial's worker reports, and dies in the step after.
        self._is_over = record.status is TrialStatus.OUT_OF_MEMORY and torch.cuda.is_initialized()
        return self._result(record, None, done=not self._is_over)

    def _result(
        self, record: TrialRecord, epoch: dict[str, Any] | None, *, done: bool
    ) -> dict[str, Any]:
        return {
            RECORD: record.to_row(),
            EPOCH: epoch,
            "metric": record.metric,
            "peak_allocated_bytes": record.peak_allocated_bytes,
            "training_iteration": record.epochs_done,
            "done": done,
            "should_checkpoint": epoch is not None and not done,
        }

    def _num_cpus(self) -> int:
        placed = self.trial_resources
        return max(1, int(placed.required_resources.get("CPU", 1))) if placed else 1


def unstarted_record(
    config: TrialConfig,
    trial_id: str,
    sweep: str | None,
    error: BaseException,
    started_at: datetime | None = None,
) -> TrialRecord:
    """Return the record of a trial that ended before its trainer could make one."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(TrialRecord)
        if hasattr(config, field.name)
    } | {
        "aggregator": aggregator_name(config),
        "patch_microbatch": str(config.patch_microbatch),
    }
    return TrialRecord(
        **settings,
        trial_id=trial_id,
        sweep=sweep,
        status=TrialStatus.OUT_OF_MEMORY if out_of_memory else TrialStatus.FAILED,
        data_is_sample=config.data_dir is None,
        budget_bytes=config.budget,
        metric_name=Classification.metric_name,
        error=one_line(error),
        started_at=started_at,
        finished_at=datetime.now(timezone.utc),
    )


def one_line(error: BaseException) -> str:
    """Return `error` as one line of text: its type and message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
