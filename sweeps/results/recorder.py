"""`Recorder`: writes what Tune reports into the run folder, then tells the search.

The order makes it safe to crash at any point: first the row, then the study. A trial whose row is
written never runs again, any other trial does. Knows nothing of trainers and samplers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from patchtrain.faults import CONFIGURATION, ENVIRONMENT, failed_by
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.errors import Unfinished
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder
from sweeps.search.searcher import StatelessSearcher

MAX_WORKER_DEATHS = 1
"""How many deaths of its worker a trial survives between two checkpoints.

A trial that makes progress continues however often its node is taken away; a trial that kills its
worker would do so at the same place again.
"""


MAX_EQUAL_FAILURES = 3
"""Trials in a row that fail for the same reason outside them before the sweep stops."""


def _reason(record: TrialRecord) -> str:
    """Return the reason of a failure without what differs from one trial to the next."""
    return re.sub(r"\d+|/\S+|0x\w+", "", record.error or "")[:80]


class WorkerDied(RuntimeError):
    """A worker's end of which Tune has no exception."""


def _told_by_ray(trial: Trial) -> str:
    """Return why a worker died, as far as Ray knows."""
    text = ""
    with suppress(OSError, AttributeError):
        text = " ".join(Path(trial.error_file or "").read_text(errors="replace").split())
    # the last exception of the traceback, from its name on
    begin = text.rfind("Error: ")
    begin = text.rfind(" ", 0, max(begin, 0)) + 1
    return text[begin : begin + _MAX_TOLD] or "no reason is known"


_MAX_TOLD = 400


class Recorder(Callback):
    """Keeps run folder and search in line with Tune.

    Args:
        folder: where rows are written; must be open.
        search: told of each finished trial.
        announce: called with each finished trial, after its row is written.

    Attributes:
        unfinished: why the sweep was stopped; Tune makes the text of a traceback of it.
        running: ids of the trials that have begun and not ended.
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
        self._before = {r.trial_id: r for r in folder.to_run_again(retry_failed=True)}
        self._ended = {record.trial_id for record in folder.records()}
        self.unfinished: Unfinished | None = None
        self.running: set[str] = set()
        self._num_equal = 0
        self._last_reason: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads: the folder has it all."""
        return {}

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Write the configuration that reruns the trial alone."""
        self._ended.discard(trial.config["trial_id"])  # it failed at an earlier start
        self._folder.add_config(trial.config["trial_id"], trial.config["config"])
        self.running.add(trial.config["trial_id"])

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
        if trial.config["trial_id"] in self._ended:  # then Tune's trial may be empty, see `Forget`
            return
        self._end(trial, TrialRecord.from_row(trial.last_result[RECORD]))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Write the row of a trial whose worker died."""
        if trial.config["trial_id"] in self._ended:
            return
        error = trial.get_pickled_error() or WorkerDied(_told_by_ray(trial))
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
        self._end(trial, dataclasses.replace(failed, failed_by=self._fault(error, failed)))

    def _fault(self, error: BaseException, failed: TrialRecord) -> str:
        """Return what made a trial fail whose worker reported no result."""
        if isinstance(error, RayTaskError) or not isinstance(error, (RayError, WorkerDied)):
            return failed_by(getattr(error, "cause", None) or error)
        # a worker that dies may have been killed; one that dies again at the next start was not
        before = self._before.get(failed.trial_id)
        died_again = before is not None and _reason(before) == _reason(failed)
        return CONFIGURATION if died_again else ENVIRONMENT

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
        self._folder.checkpoints.note(trial.config["trial_id"], checkpoint.path)

    def _end(self, trial: Trial, record: TrialRecord) -> None:
        """Write the row, then tell the search; once per trial."""
        if record.trial_id in self._ended:
            return
        self.running.discard(record.trial_id)
        self._folder.add_record(record)
        self._ended.add(record.trial_id)
        if record.failed_by == ENVIRONMENT:
            self._search.put_off(record)  # and its checkpoint stays
        else:
            self._search.tell(record)
            self._folder.checkpoints.drop(record.trial_id)
        self._announce(record)
        self._check_environment(record)

    def _check_environment(self, record: TrialRecord) -> None:
        """Stop the sweep if the same reason outside the trials ended several in a row.

        Raises:
            Unfinished: says the reason.
        """
        reason = _reason(record) if record.failed_by == ENVIRONMENT else None
        self._num_equal = self._num_equal + 1 if reason == self._last_reason else 1
        self._last_reason = reason
        if reason is not None and self._num_equal >= MAX_EQUAL_FAILURES:
            self.unfinished = Unfinished(
                f"{self._num_equal} trials in a row failed for the same reason outside them "
                f"({record.error}); mend it, then go on: they run again"
            )
            raise self.unfinished
