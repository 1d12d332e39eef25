"""`RunFolder`: the files of a sweep, each written whole or not at all.

trials.parquet          one row per finished trial
epochs.parquet          one row per epoch
trials/<id>/            config.yaml reruns that trial alone; record.json and epochs.parquet are its
                        rows of the two files above
sweep.json              what the sweep is: command, budgets, space, settings, versions
optuna.journal, tune/   state of the search and of Tune
gpus.json               what is known of the cluster's GPUs

A trial's own files are always up to date, the joint ones as time allows, see `joint`. Knows nothing
of Ray and Optuna.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.faults import ENVIRONMENT
from patchtrain.files import atomic_path, check_writable, remove_leftovers
from patchtrain.owned import LOCK, Owned, content_of
from patchtrain.record import (
    EpochRecord,
    TrialRecord,
    TrialStatus,
    read_json,
    read_rows,
    write_json,
    write_rows,
)
from sweeps.results.checkpoints import NOTE, Checkpoints
from sweeps.results.identity import check_same
from sweeps.results.inputs import Inputs
from sweeps.results.joint import JointFile, Row
from sweeps.results.patience import patience_s, patiently
from sweeps.results.stop import ASKED, Stop, grace_s
from sweeps.search.settings import INPUTS, without_places

_LATEST = ("budgets_bytes", "num_trials", "num_seeds", "sampler", "scheduler", "warm_start")
"""Keys of `sweep.json` that hold what the latest start of the sweep was asked for."""


_SWEEP = "sweep.json"
_TRIALS, _EPOCHS, _GPUS = "trials.parquet", "epochs.parquet", "gpus.json"
_OF_A_TRIAL = ("config.yaml", "record.json", "epochs.parquet", NOTE)
_WRITTEN = (
    *(_SWEEP, _TRIALS, _EPOCHS, _GPUS, INPUTS, ASKED, "probe"),
    *(f"trials/*/{name}" for name in _OF_A_TRIAL),
)
"""What the driver alone writes, as `remove_leftovers` takes it."""


class RunFolder:
    """The folder of one sweep; at most one process has it open.

    Every write waits while the folder cannot be written, see `patience.patiently`. After one that
    waited in vain, the next ones do not wait, until one succeeds.

    Args:
        path: the folder; `open` creates it.
        clock: gives the time in seconds.

    Attributes:
        checkpoints: those of the trials.
        stop: asks trials to save themselves.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._lock: Owned | None = None
        self._trials: dict[str, Row] = {}
        self._epochs: dict[str, dict[int, Row]] = {}
        self._joint_trials = JointFile(
            self.trials_path, "record.json", _read_record, self._write_trials, clock
        )
        self._joint_epochs = JointFile(
            self.epochs_path, "epochs.parquet", read_rows, self._write_epochs, clock
        )
        self._patience_s: float | None = None
        self.checkpoints = Checkpoints(path, self.tune_path, self._write)
        self.stop = Stop(path)

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds a sweep that can be resumed."""
        return self.sweep_path.exists()

    @property
    def sweep_path(self) -> Path:
        """File that says what the sweep is."""
        return self.path / _SWEEP

    @property
    def journal_path(self) -> Path:
        """File of the Optuna storage."""
        return self.path / "optuna.journal"

    @property
    def tune_path(self) -> Path:
        """Folder of Tune's state, with one experiment for each start of the sweep."""
        return self.path / "tune"

    @property
    def gpus_path(self) -> Path:
        """File with the memory of the cluster's GPUs."""
        return self.path / _GPUS

    @property
    def trials_path(self) -> Path:
        """File with one row per finished trial."""
        return self.path / _TRIALS

    @property
    def epochs_path(self) -> Path:
        """File with one row per epoch, of all trials."""
        return self.path / _EPOCHS

    @property
    def inputs_path(self) -> Path:
        """What the trials are trained on."""
        return self.path / INPUTS

    def trial_path(self, trial_id: str) -> Path:
        """Return the folder of one trial."""
        return self.path / "trials" / trial_id

    def check(self, resume: bool, description: Mapping[str, Any]) -> None:
        """Check, without writing, that a sweep of `description` can run here.

        Args:
            resume: whether the folder must hold the same sweep already.
            description: content of `sweep.json`.

        Raises:
            ConfigError: it cannot; the message says why and what to do.
        """
        patience_s()  # report a mistake in them now, not when the disk is full
        grace_s()
        check_writable(self.path)
        held = content_of(self.path)
        if not resume:
            if held:
                raise ConfigError(
                    f"--out {self.path} is not empty; add --resume to continue the sweep that is "
                    "there, or give another --out"
                )
            return
        if self.sweep_path.name not in held:
            raise ConfigError(
                f"--resume: {self.path} holds no sweep (no sweep.json); "
                "leave --resume out to start one, or give the --out of the sweep to resume"
            )
        check_same(self.sweep_path, description)

    def description(self) -> dict[str, Any]:
        """Return the content of `sweep.json`; empty if there is none."""
        return dict(json.loads(self.sweep_path.read_text())) if self.is_begun else {}

    def open(self, description: Mapping[str, Any], inputs: Inputs | None = None) -> None:
        """Create the folder, or take up what an earlier process left in it.

        Args:
            description: content of `sweep.json`.
            inputs: what the trials are trained on; None: not known.

        Raises:
            ConfigError: another process has the folder open, it cannot be written, or its trials
                are lost.
        """
        lock = Owned(self.path, LOCK, "a sweep", is_kept=True).__enter__()
        try:
            # first what makes it a sweep that can be resumed: a kill may follow
            self._describe(description)
            self.tune_path.mkdir(parents=True, exist_ok=True)
            if inputs is not None and not self.inputs_path.exists():
                inputs.write(self.inputs_path)
            self._read_trials()
            self._read_epochs()
            self._remove_leftovers()
        except BaseException:
            lock.close()
            raise
        self._lock = lock

    def _describe(self, description: Mapping[str, Any]) -> None:
        """Write `sweep.json`: all of it at the first start, later only what may change."""
        content = dict(description)
        if self.is_begun:
            held = self.description()
            latest = {key: content[key] for key in _LATEST if key in content}
            if isinstance(held.get("settings"), dict) and "settings" in content:
                latest["settings"] = without_places(held["settings"], content["settings"])
            content = held | latest
            if content == held:
                return
        with atomic_path(self.sweep_path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")

    def _remove_leftovers(self) -> None:
        """Remove what an earlier process was writing, or about to remove, when it was killed."""
        remove_leftovers(self.path, *_WRITTEN)
        self.stop.withdraw()
        again = {key for key, row in self._trials.items() if row.get("failed_by") == ENVIRONMENT}
        self.checkpoints.drop_leftovers(self._trials.keys() - again)

    def close(self) -> None:
        """Bring every file up to date and release the folder.

        Raises:
            OSError: a joint file cannot be written, and no earlier write has raised that.
        """
        if self._lock is None:
            return
        has_given_up = self._patience_s is not None
        try:
            self.flush()
        except OSError:
            if not has_given_up:  # else it was raised before; the trials' own files are complete
                raise
        finally:
            self._lock.close()
            self._lock = None

    def records(self) -> list[TrialRecord]:
        """Return the trials that ended, sorted by trial id."""
        return [TrialRecord.from_row(self._trials[key]) for key in sorted(self._trials)]

    def finished(self, *, retry_failed: bool = False) -> list[TrialRecord]:
        """Return the trials that a start of the sweep does not run again."""
        again = {record.trial_id for record in self.to_run_again(retry_failed=retry_failed)}
        return [record for record in self.records() if record.trial_id not in again]

    def to_run_again(self, *, retry_failed: bool = False) -> list[TrialRecord]:
        """Return the trials that failed for a reason outside them, or all that failed."""
        return [
            record
            for record in self.records()
            if record.status is TrialStatus.FAILED
            and (retry_failed or record.failed_by == ENVIRONMENT)
        ]

    def epochs(self) -> list[Row]:
        """Return the rows of all epochs, sorted by trial id and epoch."""
        return [
            self._epochs[trial_id][epoch]
            for trial_id in sorted(self._epochs)
            for epoch in sorted(self._epochs[trial_id])
        ]

    def add_config(self, trial_id: str, config: TrialConfig) -> None:
        """Write the configuration that reruns a trial alone."""
        self._write(partial(_write_config, self.trial_path(trial_id) / "config.yaml", config))

    def add_record(self, record: TrialRecord) -> None:
        """Write the row of a finished trial, replacing an earlier one."""
        self.add_records([record])

    def add_records(self, records: Iterable[TrialRecord]) -> None:
        """Write the rows of finished trials, replacing earlier ones.

        Once this returns, each is on disk in the trial's own file. NaN and infinity, such as the
        metric of a network that diverged, are written as unknown.
        """
        for record in map(_finite, records):
            path = self.trial_path(record.trial_id) / "record.json"
            self._write(partial(write_json, path, record))
            self._trials[record.trial_id] = _compact(record.to_row())
            self._joint_trials.note(record.trial_id)
        self._write_joint_files()

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Write the row of an epoch, replacing an earlier one."""
        trial_id = row["trial_id"]
        epochs = self._epochs.setdefault(trial_id, {})
        epochs[row["epoch"]] = _compact(dict(row))
        path = self.trial_path(trial_id) / "epochs.parquet"
        rows = [epochs[epoch] for epoch in sorted(epochs)]
        self._write(partial(write_rows, path, EpochRecord, rows))
        self._joint_epochs.note(trial_id)
        self._write_joint_files()

    def flush(self, *, waits: bool = True) -> None:
        """Bring the joint files up to date now.

        Args:
            waits: whether to wait while the folder cannot be written.
        """
        if not waits:
            self._patience_s = 0.0
        self._write_joint_files(at_once=True)

    def next_start(self) -> str:
        """Return the name of this start of the sweep, for Tune's state."""
        taken = [int(p.name) for p in self.tune_path.iterdir() if p.name.isdecimal()]
        return f"{max(taken, default=-1) + 1:04d}"

    def _write(self, write: Callable[[], None]) -> None:
        """Call `write`, which writes into the folder, and wait while it cannot."""
        try:
            patiently(partial(self._write_once, write), str(self.path), limit_s=self._patience_s)
        except BaseException:
            self._patience_s = 0.0
            raise
        self._patience_s = None

    def _write_once(self, write: Callable[[], None]) -> None:
        # if a mount is gone, files written now would be hidden once it is back
        self.sweep_path.stat()
        write()

    def _write_joint_files(self, *, at_once: bool = False) -> None:
        for joint in (self._joint_trials, self._joint_epochs):
            if joint.is_due() or (at_once and joint.is_stale):
                self._write(joint.write)

    def _write_trials(self) -> None:
        rows = [self._trials[trial_id] for trial_id in sorted(self._trials)]
        write_rows(self.trials_path, TrialRecord, rows, self._joint_trials.notes())

    def _write_epochs(self) -> None:
        write_rows(self.epochs_path, EpochRecord, self.epochs(), self._joint_epochs.notes())

    def _read_trials(self) -> None:
        """Read the finished trials.

        Raises:
            ConfigError: the joint file is damaged, and there are no own files to rebuild it from.
        """
        self._trials = {row["trial_id"]: row for row in self._joint_trials.read()}

    def _read_epochs(self) -> None:
        for row in self._joint_epochs.read():
            self._epochs.setdefault(row["trial_id"], {})[row["epoch"]] = row
        self._joint_epochs.is_stale |= not self.epochs_path.exists()


def _write_config(path: Path, config: TrialConfig) -> None:
    with atomic_path(path) as temporary:
        config.dump(temporary)


def _read_record(path: Path) -> list[Row]:
    return [read_json(path).to_row()]


def _compact(row: Row) -> Row:
    """Return `row` with one copy of each text that many trials share, such as versions."""
    return {key: sys.intern(v) if isinstance(v, str) else v for key, v in row.items()}


def _finite(record: TrialRecord) -> TrialRecord:
    """Return `record` with None in place of NaN and infinity."""
    unknown: dict[str, Any] = {
        field.name: None
        for field in dataclasses.fields(record)
        if not _is_finite(getattr(record, field.name))
    }
    metrics = {name: value if _is_finite(value) else None for name, value in record.metrics.items()}
    return dataclasses.replace(record, **unknown, metrics=metrics)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
