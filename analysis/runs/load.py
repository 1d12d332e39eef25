"""Reads and checks a RUN_DIR: `load_run`.

Where a file is damaged or an older version wrote it, reads what can honestly be read and says so in
`Run.notices`. Knows nothing of training, searching or drawing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import InputError, one_line
from analysis.runs.frames import check_trials, checked, no_epochs
from analysis.runs.run import Run, run_of
from analysis.runs.storage import Folder
from analysis.runs.sweep import SWEEP, load_sweep
from patchtrain.record import EpochRecord, TrialRecord, table_of

TRIALS, EPOCHS = "trials.parquet", "epochs.parquet"

REQUIRED_TRIAL_COLUMNS = ("trial_id", "status", "peak_allocated_bytes", "metric")
"""A trial cannot be placed without these; any other column may be missing."""

REQUIRED_EPOCH_COLUMNS = ("trial_id", "epoch", "metric")


def load_run(location: str | Path) -> Run:
    """Return the run recorded in a folder: a local path or a URI.

    The sweep may still be running. A damaged joint file is rebuilt from the trials' own files.

    Raises:
        InputError: there is no such folder, a file is missing, too damaged or has another schema,
            or the trials cannot be compared with each other.
    """
    folder = Folder(location)
    folder.check()
    notices: list[str] = []
    return run_of(
        folder.name,
        trials=_load_trials(folder, notices),
        epochs=_load_epochs(folder, notices),
        sweep=load_sweep(folder, notices),
        folder=folder,
        notices=notices,
    )


def state_of(folder: Folder) -> object:
    """Return a value that changes with the files that `load_run` reads."""
    own = [] if folder.exists(TRIALS) else folder.folders("trials")
    return folder.changed_at(
        (TRIALS, EPOCHS, SWEEP, *(f"trials/{each}/record.json" for each in own))
    )


def _load_trials(folder: Folder, notices: list[str]) -> pd.DataFrame:
    path = folder.path_of(TRIALS)
    if not folder.exists(TRIALS) and not folder.exists(SWEEP):
        found = "is a folder, not a file" if folder.has_folder(TRIALS) else "does not exist"
        raise InputError(f"{path}: {found}; is it in a RUN_DIR? run a sweep first")
    table = _joint(folder, TRIALS, TrialRecord, _records_of, notices)
    trials = checked(table, path, TrialRecord, REQUIRED_TRIAL_COLUMNS, notices)
    for column in ("trial_id", "status"):
        if trials[column].isna().any():
            row = int(trials[column].isna().to_numpy().argmax())
            raise InputError(f"{path}: row {row} has no {column}; write the file again")
    check_trials(trials, path)
    return trials


def _load_epochs(folder: Folder, notices: list[str]) -> pd.DataFrame:
    path = folder.path_of(EPOCHS)
    if not folder.exists(EPOCHS):
        return no_epochs()
    table = _joint(folder, EPOCHS, EpochRecord, _epochs_of, notices)
    return checked(table, path, EpochRecord, REQUIRED_EPOCH_COLUMNS, notices)


def _joint(
    folder: Folder,
    name: str,
    record_type: type,
    rows_of_trial: Callable[[bytes], list[dict[str, Any]]],
    notices: list[str],
) -> pa.Table:
    """Return a joint file, rebuilt from the trials' own files if it is damaged or missing."""
    why = "is not there yet"
    if folder.exists(name):
        try:
            return _parquet(folder.read(name))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            why = f"is not a whole Parquet file ({one_line(error)})"
    own = {TRIALS: "record.json", EPOCHS: EPOCHS}[name]
    rows, num_broken = [], 0
    for trial_id in folder.folders("trials"):
        if not folder.exists(f"trials/{trial_id}/{own}"):
            continue
        try:
            rows += rows_of_trial(folder.read(f"trials/{trial_id}/{own}"))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            num_broken += 1
    if not rows and name == TRIALS and folder.exists(name):
        raise InputError(
            f"{folder.path_of(name)}: {why}; copy it again or resume the sweep that writes it"
        )
    broken = f", {num_broken} of them broken" if num_broken else ""
    notices.append(f"{name} {why}: read from the trials' own files instead{broken}.")
    return table_of(record_type, rows)


def _records_of(content: bytes) -> list[dict[str, Any]]:
    return [TrialRecord.from_row(json.loads(content)).to_row()]


def _epochs_of(content: bytes) -> list[dict[str, Any]]:
    return _parquet(content).to_pylist()


def _parquet(content: bytes) -> pa.Table:
    # pq.read_table would turn a folder named `a=b` into a column
    with pq.ParquetFile(io.BytesIO(content)) as file:
        table = file.read()
    _ = table.column_names  # raises where they are not UTF-8
    return table
