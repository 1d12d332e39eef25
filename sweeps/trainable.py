"""`BudgetTrainable`: one trial as Tune sees it, one epoch a step.

Running out of memory and errors of the trainer are results, not crashes: every result carries the
trial's record so far, so there is a row to write whatever ends the trial. Knows nothing of the
search and of result files.
"""

from __future__ import annotations

import dataclasses
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from ray import tune

from patchtrain.checkpoint import has_checkpoint
from patchtrain.config import TrialConfig
from patchtrain.epoch import Progress
from patchtrain.errors import ConfigError
from patchtrain.interrupt import Stopped
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus
from patchtrain.trainer import Trainer
from sweeps.results.keys import CHECKPOINT, EPOCH, RECORD, OpaqueRow
from sweeps.results.patience import patience_s, patiently
from sweeps.results.records import unstarted_record
from sweeps.results.stop import TRAINER, Stop

_LOOK_EVERY_S = 1.0
"""How often a trial looks whether the sweep is ending."""

_UNSEEN_PATIENCE_S = 120.0
"""How long a worker waits for a RUN_DIR that it has never seen, in seconds."""


class WorkerSpent(RuntimeError):
    """Raised after the last result of a trial, so that Tune throws its worker away."""


class BudgetTrainable(tune.Trainable):
    """One trial: `config` holds `trial_id`, `sweep`, `group`, `config` (a `TrialConfig`) and
    `checkpoint`.
    """

    _has_seen_run_dir = False

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the first step, which can report errors, makes the trainer."""
        self._trial_id: str = config["trial_id"]
        self._sweep: str = config["sweep"]
        self._group: str = config["group"]
        self._config: TrialConfig = self._placed(config["config"])
        self._trainer: Trainer | None = None
        self._checkpoint: str | None = config.get(CHECKPOINT)
        self._is_over = False
        self._started_at = datetime.now(timezone.utc)
        self._looked_at = time.monotonic()
        # Tune's storage is RUN_DIR/tune; there is none outside of a sweep
        self._stop = Stop(Path(self._storage.storage_fs_path).parent) if self._storage else None
        torch.set_num_threads(self._num_cpus())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial into this process, which has everything imported already."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; the last result has `done`."""
        if self._is_over:
            raise WorkerSpent("out of memory: the next trial gets a fresh process")
        try:
            trainer = self._ready_trainer()
            epoch = self._epoch(trainer).to_row() if not trainer.finished else None
            return self._result(trainer.record(), epoch, done=trainer.finished)
        except Exception as error:  # any error is this trial's result
            return self._final_result(error)

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Write a checkpoint to RUN_DIR, and wait while RUN_DIR cannot be written.

        A failed attempt leaves nothing behind; the next attempt writes everything anew.

        Raises:
            OSError: see `patience.patiently`.
        """
        storage, save = self._storage, super().save
        if checkpoint_dir is not None or storage is None:
            return save(checkpoint_dir)
        index, tune_path = storage.current_checkpoint_index, Path(storage.experiment_fs_path)

        def attempt() -> Any:
            tune_path.stat()  # Ray would not name a missing folder as the reason
            try:
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    return save(folder)
            except BaseException:
                if storage.current_checkpoint_index != index:
                    shutil.rmtree(storage.checkpoint_fs_path, ignore_errors=True)
                    storage.current_checkpoint_index = index
                raise

        with suppress(OSError):
            tune_path.stat()
            self._has_seen_run_dir = True
        # a machine that has never seen RUN_DIR does not share it, so waiting would not help
        limit_s = patience_s() if self._has_seen_run_dir else min(patience_s(), _UNSEEN_PATIENCE_S)
        return patiently(attempt, str(tune_path), limit_s=limit_s)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write weights, optimizer and random state."""
        assert self._trainer is not None
        self._trainer.save(Path(checkpoint_dir) / TRAINER)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue from a checkpoint."""
        # Tune removes its own copy of the checkpoint after this call, so read it now
        self._checkpoint = str(checkpoint)
        self._ready_trainer()

    def cleanup(self) -> None:
        """Free the memory of the trial."""
        if self._trainer is not None:
            self._trainer.close()
            self._trainer = None

    def _epoch(self, trainer: Trainer) -> EpochRecord:
        """Run an epoch. While the sweep is ending, save what is trained and wait for the end."""
        while True:
            try:
                return trainer.run_epoch(self._look)
            except Stopped:
                assert self._stop is not None
                trainer.save(self._stop.saved_path(self._trial_id) / TRAINER)
                while self._stop.is_asked:
                    time.sleep(_LOOK_EVERY_S)

    def _look(self, progress: Progress) -> None:
        """Raise `Stopped` if the sweep is ending; called after each batch."""
        now = time.monotonic()
        if self._stop is None or now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        if self._stop.is_asked:
            raise Stopped(signal.SIGTERM)

    def _ready_trainer(self) -> Trainer:
        if self._trainer is None:
            self._check_device()
            self._trainer = Trainer(self._config, trial_id=self._trial_id, sweep=self._sweep)
            _ = self._trainer.estimate  # made now, so that it is recorded however the trial ends
            self._trainer.check_fits()
            if self._checkpoint is not None and has_checkpoint(Path(self._checkpoint) / TRAINER):
                self._trainer.load(Path(self._checkpoint) / TRAINER)
        return self._trainer

    def _final_result(self, error: Exception) -> dict[str, Any]:
        """Return the result of a trial that `error` ended, and free its memory."""
        if self._trainer is not None:
            record = self._trainer.record(error)
        else:
            record = unstarted_record(
                self._config, self._trial_id, self._sweep, error, self._started_at
            )
        error.__traceback__ = None  # its frames hold tensors
        self.cleanup()
        # A process that ran out of memory is no longer as good as new. Tune keeps workers whose
        # trial ended well, so this worker reports, and dies in the step after.
        self._is_over = record.status is TrialStatus.OUT_OF_MEMORY
        return self._result(record, None, done=not self._is_over)

    def _result(
        self, record: TrialRecord, epoch: dict[str, Any] | None, *, done: bool
    ) -> dict[str, Any]:
        return {
            RECORD: OpaqueRow(dataclasses.replace(record, group=self._group).to_row()),
            EPOCH: None if epoch is None else OpaqueRow(epoch),
            "metric": record.metric,
            "peak_allocated_bytes": record.peak_allocated_bytes,
            "training_iteration": record.epochs_done,
            "done": done,
            "should_checkpoint": epoch is not None and not done,
        }

    def _placed(self, config: TrialConfig) -> TrialConfig:
        """Return `config` with the device that the trial has a place on: `auto` would train on the
        CPU of a worker without CUDA, and hold a share of a GPU meanwhile.
        """
        reserved = self._reserved()
        if not reserved:
            return config
        return dataclasses.replace(config, device="cuda" if reserved.get("GPU") else "cpu")

    def _check_device(self) -> None:
        """Refuse a worker that does not see the GPU on which it has a share.

        Raises:
            ConfigError: names the machine, and what to do.
        """
        share = self._reserved().get("GPU")
        if share and not torch.cuda.is_available():
            raise ConfigError(
                f"device='cuda': the worker on {socket.gethostname()} has {share:g} of a GPU, but "
                f"torch {torch.__version__} sees no CUDA device there; install NVIDIA's driver and "
                "a CUDA build of torch on that machine, or use --set device=cpu"
            )

    def _num_cpus(self) -> int:
        return max(1, int(self._reserved().get("CPU", 1)))

    def _reserved(self) -> dict[str, float]:
        """Return what the trial has a place on, as Ray resources; nothing outside of a sweep."""
        placed = self.trial_resources
        return placed.required_resources if placed else {}
