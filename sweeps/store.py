"""`RunFolder`: the files of a sweep, each whole or not at all. Knows nothing of Ray and Optuna.

trials.parquet          one row a finished trial
epochs.parquet          one row an epoch
trials/<id>/            config.yaml reruns that trial alone; epochs.parquet has its own epochs
sweep.json              what the sweep is: command, budgets, space, settings, versions
optuna.journal, tune/   state of the search and of Tune
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.output import check_writable
from patchtrain.record import (
    EpochRecord,
    TrialRecord,
    atomic_path,
    read_rows,
    write_rows,
)

IDENTITY = ("sweep", "budgets_bytes", "space", "settings")
"""Keys of `sweep.json` that must not change when a sweep is resumed."""

_MAX_SHARE_OF_TIME = 0.05
"""Of the time that may go into rewriting the joint `epochs.parquet`."""


class RunFolder:
    """The folder of one sweep; at most one process has it open.

    Args:
        path: the folder; made by `create`, see there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None
        self._trials: dict[str, dict[str, Any]] = {}
        self._epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self._epochs_due_at = 0.0

    @property
    def journal_path(self) -> Path:
        """File of the Optuna storage."""
        return self.path / "optuna.journal"

    @property
    def tune_path(self) -> Path:
        """Folder of Tune's state; holds one experiment per start of the sweep."""
        return self.path / "tune"

    @property
    def trials_path(self) -> Path:
        """File with one row a finished trial."""
        return self.path / "trials.parquet"

    @property
    def epochs_path(self) -> Path:
        """File with one row an epoch, of all trials."""
        return self.path / "epochs.parquet"

    def trial_path(self, trial_id: str) -> Path:
        """Return the folder of one trial."""
        return self.path / "trials" / trial_id

    def check(self, resume: bool, description: Mapping[str, Any]) -> None:
        """Check, without writing, that a sweep of `description` can run here.

        Args:
            resume: whether the folder is to hold a sweep already, and the same one.
            description: content of `sweep.json`.

        Raises:
            ConfigError: it cannot; says why and what to do.
        """
        check_writable(self.path)
        held = _content(self.path)
        if not resume:
            if held:
                raise ConfigError(
                    f"--out {self.path} is not empty; add --resume to go on with the sweep "
                    "that is there, or give another --out"
                )
            return
        if "sweep.json" not in held:
            raise ConfigError(
                f"--resume: {self.path} holds no sweep (no sweep.json); "
                "leave --resume out to start one, or give its --out"
            )
        _check_same(self.path / "sweep.json", description)

    def open(self, description: Mapping[str, Any]) -> None:
        """Make the folder, or take up what an earlier process left in it.

        Raises:
            ConfigError: another process has it open, or it cannot be written.
        """
        try:
            self.tune_path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("w")
        except OSError as error:
            raise ConfigError(
                f"--out {self.path} cannot be written ({error.strerror}); give another folder"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ConfigError(
                f"--out {self.path} is in use by a sweep that runs; wait for it or stop it first"
            ) from None
        self._lock = lock
        if not (self.path / "sweep.json").exists():
            with atomic_path(self.path / "sweep.json") as temporary:
                temporary.write_text(json.dumps(description, indent=2) + "\n")
        self._trials = {row["trial_id"]: row for row in read_rows(self.trials_path)}
        self._read_epochs()

    def close(self) -> None:
        """Bring every file up to date and let the folder go."""
        if self._lock is not None:
            self._write_epochs()
            self._lock.close()
            self._lock = None

    def records(self) -> list[TrialRecord]:
        """Return the finished trials, by trial id."""
        return [TrialRecord.from_row(self._trials[key]) for key in sorted(self._trials)]

    def add_config(self, trial_id: str, config: TrialConfig) -> None:
        """Write the configuration that reruns a trial alone."""
        with atomic_path(self.trial_path(trial_id) / "config.yaml") as temporary:
            config.dump(temporary)

    def add_record(self, record: TrialRecord) -> None:
        """Write the row of a finished trial, in place of one that it may have."""
        rows = self._trials | {record.trial_id: record.to_row()}
        write_rows(self.trials_path, TrialRecord, [rows[key] for key in sorted(rows)])
        self._trials = rows
        self._write_epochs_when_due()

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Write the row of an epoch, in place of one that it may have.

        It goes to the trial's own file at once, to the joint one as time allows: rewriting that
        costs more the longer the sweep is.
        """
        trial_id = row["trial_id"]
        epochs = self._epochs.setdefault(trial_id, {})
        epochs[row["epoch"]] = dict(row)
        path = self.trial_path(trial_id) / "epochs.parquet"
        write_rows(path, EpochRecord, [epochs[epoch] for epoch in sorted(epochs)])
        self._write_epochs_when_due()

    def note_checkpoint(self, trial_id: str, checkpoint: str) -> None:
        """Remember where the newest whole checkpoint of a running trial is."""
        with atomic_path(self.trial_path(trial_id) / "checkpoint.txt") as temporary:
            temporary.write_text(checkpoint)

    def checkpoints(self) -> dict[str, str]:
        """Return where the newest whole checkpoint of each trial is that was cut off."""
        notes = self.path.glob("trials/*/checkpoint.txt")
        return {note.parent.name: note.read_text() for note in notes}

    def drop_checkpoints(self, trial_id: str) -> None:
        """Remove the checkpoints of a trial that is over; a sweep's worth of them fills a disk."""
        (self.trial_path(trial_id) / "checkpoint.txt").unlink(missing_ok=True)
        for checkpoint in self.tune_path.glob(f"*/{trial_id}/checkpoint_*"):
            shutil.rmtree(checkpoint, ignore_errors=True)

    def next_start(self) -> str:
        """Return the name of this start of the sweep, for Tune's state."""
        taken = [int(p.name) for p in self.tune_path.iterdir() if p.name.isdecimal()]
        return f"{max(taken, default=-1) + 1:04d}"

    def _read_epochs(self) -> None:
        """Read the joint file, and the trials' own files where they are newer."""
        joint = self.epochs_path
        joint_time_ns = joint.stat().st_mtime_ns if joint.exists() else -1
        rows = read_rows(joint)
        for path in self.path.glob("trials/*/epochs.parquet"):
            if path.stat().st_mtime_ns >= joint_time_ns:
                rows += read_rows(path)
        for row in rows:
            self._epochs.setdefault(row["trial_id"], {})[row["epoch"]] = row

    def _write_epochs_when_due(self) -> None:
        if time.monotonic() >= self._epochs_due_at:
            started_at = time.monotonic()
            self._write_epochs()
            now = time.monotonic()
            self._epochs_due_at = now + (now - started_at) / _MAX_SHARE_OF_TIME

    def _write_epochs(self) -> None:
        rows = [
            self._epochs[trial_id][epoch]
            for trial_id in sorted(self._epochs)
            for epoch in sorted(self._epochs[trial_id])
        ]
        write_rows(self.epochs_path, EpochRecord, rows)


def _content(path: Path) -> set[str]:
    """Return the names in the folder `path` that a sweep would clash with."""
    return {entry.name for entry in path.iterdir()} - {"lock"} if path.is_dir() else set()


def _check_same(path: Path, description: Mapping[str, Any]) -> None:
    """Check that the sweep in the file `path` is the one of `description`."""
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); give another --out") from None
    wanted = json.loads(json.dumps(dict(description)))
    for key in IDENTITY:
        for name, before, now in _differences(key, held.get(key), wanted.get(key)):
            raise ConfigError(
                f"--resume: the sweep in {path.parent} has {name}={json.dumps(before)}, "
                f"this command {json.dumps(now)}; give the same, or another --out"
            )


def _differences(name: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Return the innermost named values in which two JSON values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted({*before, *now})
            for difference in _differences(f"{name}.{key}", before.get(key), now.get(key))
        ]
    return [] if before == now else [(name, before, now)]
