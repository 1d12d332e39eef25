"""`Recorder`: writes what Tune reports into the run folder, then tells the search.

The order makes it safe to crash at any point: first the row, then the study. A trial whose row is
written never runs again, any other trial does. Knows nothing of trainers and samplers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from patchtrain.record import TrialRecord, TrialStatus
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder
from sweeps.search.searcher import StatelessSearcher

MAX_WORKER_DEATHS = 1
"""How many deaths of its worker a trial survives between two checkpoints.

A trial that makes progress continues however often its node is taken away; a trial that kills its
worker would do so at the same place again.
"""


class Recorder(Callback):
    """Keeps run folder and search in line with Tune.

    Args:
        folder: where rows are written; must be open.
        search: told of each finished trial.
        announce: called with each finished trial, after its row is written.
    """

    def __init__(
        self,
        folder: RunFolder,
        search: StatelessSearcher,
        announce: Callable[[TrialRecord], None],
    ) -> None:
        self._folder = folder
        self._search = search
        self._announce = announce
        self._ended = {record.trial_id for record in folder.records()}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads: the folder has it all."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Write the configuration that reruns the trial alone."""
        self._folder.add_config(trial.config["trial_id"], trial.config["config"])

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict,
        **info: Any,
    ) -> None:
        """Write the epoch, and the trial's row if this is its last result."""
        if result[EPOCH] is not None:
            self._folder.add_epoch(result[EPOCH])
        record = TrialRecord.from_row(result[RECORD])
        if record.status is not TrialStatus.STOPPED_EARLY:  # the status while epochs are missing
            self._end(trial, record)
            # the trial is over: if the worker dies now, there is no reason to run it again
            trial.max_failures = 0

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Write the row of a trial that a scheduler stopped."""
        self._end(trial, TrialRecord.from_row(trial.last_result[RECORD]))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Write the row of a trial whose worker died."""
        error = trial.get_pickled_error() or RuntimeError("the worker died; no reason is known")
        row = trial.last_result.get(RECORD) if trial.last_result else None
        failed = unstarted_record(
            trial.config["config"],
            trial.config["trial_id"],
            trial.config["sweep"],
            error,
            group=trial.config["group"],
        )
        if row is not None:
            failed = dataclasses.replace(
                TrialRecord.from_row(row),
                status=failed.status,
                error=failed.error,
                finished_at=datetime.now(timezone.utc),
            )
        self._end(trial, failed)

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        checkpoint: Checkpoint,
        **info: Any,
    ) -> None:
        """Remember where the trial continues from if this process or the worker dies."""
        if trial.config["trial_id"] not in self._ended:
            trial.max_failures = trial.num_failures + MAX_WORKER_DEATHS
        self._folder.note_checkpoint(trial.config["trial_id"], checkpoint.path)

    def _end(self, trial: Trial, record: TrialRecord) -> None:
        """Write the row, then tell the search; once per trial."""
        if record.trial_id in self._ended:
            return
        self._folder.add_record(record)
        self._search.tell(record)
        self._ended.add(record.trial_id)
        self._folder.drop_checkpoints(record.trial_id)
        self._announce(record)
