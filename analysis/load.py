"""Reads and checks a RUN_DIR: `load_run`; several become one by `join_runs`.

Knows nothing of training, searching or drawing. What is damaged or comes from an older version
is done without where that is honest, and said in `Run.notices`.
"""

from __future__ import annotations

import io
import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import InputError, one_line
from analysis.storage import Folder
from patchtrain.record import METRIC_PREFIX, EpochRecord, TrialRecord, schema_of, table_of

RUN = "run"
"""Column that says which run a trial or an epoch is of."""

TRIALS, EPOCHS, SWEEP = "trials.parquet", "epochs.parquet", "sweep.json"

REQUIRED_TRIAL_COLUMNS = ("trial_id", "status", "peak_allocated_bytes", "metric")
"""Without these a trial cannot be placed; any other column may be absent."""

REQUIRED_EPOCH_COLUMNS = ("trial_id", "epoch", "metric")


@dataclass(frozen=True, kw_only=True)
class SweepInfo:
    """What `sweep.json` says of the run as a whole; None or empty where it does not say."""

    name: str | None = None
    command: str | None = None
    """The command line that made the run."""
    budgets_bytes: tuple[int, ...] = ()
    num_trials: int | None = None
    """How many trials were asked for."""
    varied: tuple[str, ...] = ()
    """The settings that were searched."""
    started_at: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Recorded results, of one sweep or of several: one row a trial, one row an epoch."""

    trials: pd.DataFrame
    """Columns of `TrialRecord.to_row` and `RUN`; whole numbers are nullable integers, unknown is
    missing."""
    epochs: pd.DataFrame
    """Columns of `EpochRecord.to_row` and `RUN`; no rows where the run has no epochs.parquet."""
    sweeps: Mapping[str, SweepInfo]
    """Name of a run -> what it says of itself."""
    folders: Mapping[str, Folder]
    """Name of a run -> where it lies; nothing for results that have no RUN_DIR."""
    notices: tuple[str, ...] = ()
    """What was damaged or missing, one sentence each."""

    def trials_of(self, name: str) -> pd.DataFrame:
        """Return the trials of the run of that name."""
        return self.trials[(self.trials[RUN] == name).to_numpy(dtype=bool)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The trials as plain mappings in which unknown is None, in their order. Read only."""
        return rows_of(self.trials)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.sweeps)

    @property
    def budgets_bytes(self) -> tuple[int, ...]:
        """Every budget of the run, smallest first; empty for a run without budgets."""
        known = self.trials["budget_bytes"].dropna().unique()
        of_trials = (int(budget) for budget in known if budget > 0)
        of_sweeps = (budget for sweep in self.sweeps.values() for budget in sweep.budgets_bytes)
        return tuple(sorted({*of_sweeps, *of_trials}))

    @property
    def metric_name(self) -> str:
        """Name of the one metric that the trials are compared by."""
        return self._only("metric_name") or "metric"

    @property
    def dataset(self) -> str | None:
        """Name of the one data set of the run; None for a run without trials."""
        return self._only("dataset")

    @property
    def data_is_sample(self) -> bool:
        """Whether any trial ran on small generated data instead of the real data set."""
        return bool(self.trials["data_is_sample"].fillna(False).any())

    def _only(self, column: str) -> str | None:
        values = self.trials[column].dropna()
        return None if values.empty else str(values.iloc[0])


def load_run(location: str | Path) -> Run:
    """Return the run recorded in a folder: a local path or a URI.

    A sweep that is still running can be read. A damaged joint file is put together again from the
    trials' own.

    Raises:
        InputError: no such folder, a file is missing, damaged beyond that or of another schema, or
            the trials cannot be compared with each other.
    """
    folder = Folder(location)
    folder.check()
    notices: list[str] = []
    return run_of(
        folder.name,
        trials=_load_trials(folder, notices),
        epochs=_load_epochs(folder, notices),
        sweep=_load_sweep(folder, notices),
        folder=folder,
        notices=notices,
    )


def state_of(folder: Folder) -> object:
    """Return what differs once the files that `load_run` reads have changed."""
    own = [] if folder.exists(TRIALS) else folder.folders("trials")
    return folder.changed_at(
        (TRIALS, EPOCHS, SWEEP, *(f"trials/{each}/record.json" for each in own))
    )


def run_of(
    name: str,
    *,
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    sweep: SweepInfo,
    folder: Folder | None = None,
    notices: Sequence[str] = (),
) -> Run:
    """Return a run of that name."""
    return Run(
        trials=trials.assign(**{RUN: name}),
        epochs=epochs.assign(**{RUN: name}),
        sweeps={name: sweep},
        folders={} if folder is None else {name: folder},
        notices=tuple(notices),
    )


def join_runs(runs: Sequence[Run]) -> Run:
    """Return several runs as one; runs of one name get a number.

    Raises:
        InputError: they are of different data or metrics, so they cannot be compared.
    """
    if len(runs) == 1:
        return runs[0]
    for what in ("metric_name", "dataset"):
        _check_equal(runs, what, [each._only(what) for each in runs])
    samples = [None if run.trials.empty else run.data_is_sample for run in runs]
    _check_equal(runs, "data_is_sample", samples)
    named: list[Run] = []
    theirs = {name for run in runs for name in run.names}
    for run in runs:
        for name in run.names:
            taken = {each.names[0] for each in named}
            free = (f"{name} ({n})" for n in count(2) if f"{name} ({n})" not in taken | theirs)
            named.append(_only_run(run, name, next(free) if name in taken else name))
    return Run(
        trials=_stacked(run.trials for run in named),
        epochs=_stacked(run.epochs for run in named),
        sweeps={name: sweep for run in named for name, sweep in run.sweeps.items()},
        folders={name: folder for run in named for name, folder in run.folders.items()},
        notices=tuple(f"{run.names[0]}: {notice}" for run in runs for notice in run.notices),
    )


def _only_run(run: Run, name: str, new_name: str) -> Run:
    """Return the one of the runs in `run` that is called `name`, under a new name."""
    return run_of(
        new_name,
        trials=run.trials_of(name),
        epochs=run.epochs[(run.epochs[RUN] == name).to_numpy(dtype=bool)],
        sweep=run.sweeps[name],
        folder=run.folders.get(name),
    )


def _check_equal(runs: Sequence[Run], what: str, values: Sequence[Any]) -> None:
    known = {str(value): run for run, value in zip(runs, values, strict=True) if value is not None}
    if len(known) > 1:
        found = ", ".join(f"{value} in {run.names[0]}" for value, run in known.items())
        raise InputError(
            f"{what} differs between the runs ({one_line(found)}), so they cannot be compared; "
            "give runs of one task and data set"
        )


def _stacked(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    # by way of Arrow: pandas guesses the types of columns that one of the frames does not know
    tables = [pa.Table.from_pandas(frame, preserve_index=False) for frame in frames]
    try:
        return _to_pandas(pa.concat_tables(tables, promote_options="permissive"))
    except pa.ArrowException:  # a setting is a number in one and a text in another
        return _to_pandas(pa.concat_tables(_as_texts(tables), promote_options="permissive"))


def _as_texts(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Return the tables with text in the columns that are text in any of them."""
    texts = {
        described.name
        for table in tables
        for described in table.schema
        if pa.types.is_string(described.type) or pa.types.is_large_string(described.type)
    }
    return [
        table.cast(
            pa.schema([f.with_type(pa.string()) if f.name in texts else f for f in table.schema])
        )
        for table in tables
    ]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame` as plain mappings in which unknown is None."""
    known = frame.notna()
    columns = [frame[name].astype(object).where(known[name], None).tolist() for name in frame]
    names = [str(name) for name in frame]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _load_trials(folder: Folder, notices: list[str]) -> pd.DataFrame:
    path = folder.path_of(TRIALS)
    if not folder.exists(TRIALS) and not folder.exists(SWEEP):
        found = "is a folder, not a file" if folder.has_folder(TRIALS) else "does not exist"
        raise InputError(f"{path}: {found}; is it in a RUN_DIR? run a sweep first")
    table = _joint(folder, TRIALS, TrialRecord, _records_of, notices)
    trials = _checked(table, path, TrialRecord, REQUIRED_TRIAL_COLUMNS, notices)
    for column in ("trial_id", "status"):
        if trials[column].isna().any():
            row = int(trials[column].isna().to_numpy().argmax())
            raise InputError(f"{path}: row {row} has no {column}; write the file again")
    check_trials(trials, path)
    return trials


def check_trials(trials: pd.DataFrame, path: str) -> None:
    """Raise `InputError` if two trials have one id or cannot be compared."""
    twice = trials["trial_id"][trials["trial_id"].duplicated()]
    if not twice.empty:
        raise InputError(
            f"{path}: trial_id {one_line(twice.iloc[0])!r} is that of several rows; give each its "
            "own"
        )
    for column in ("metric_name", "dataset"):
        values = sorted(trials[column].dropna().unique())
        if len(values) > 1:
            raise InputError(
                f"{path}: {column} differs between trials ({one_line(', '.join(values))}), so "
                "they cannot be compared; keep a run for each"
            )


def _load_epochs(folder: Folder, notices: list[str]) -> pd.DataFrame:
    path = folder.path_of(EPOCHS)
    if not folder.exists(EPOCHS):
        return no_epochs()
    table = _joint(folder, EPOCHS, EpochRecord, _epochs_of, notices)
    return _checked(table, path, EpochRecord, REQUIRED_EPOCH_COLUMNS, notices)


def _joint(
    folder: Folder,
    name: str,
    record_type: type,
    rows_of_trial: Callable[[bytes], list[dict[str, Any]]],
    notices: list[str],
) -> pa.Table:
    """Return the content of a joint file; from the trials' own files where it is damaged."""
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
    # not pq.read_table, which takes a folder named `a=b` for a column of the table
    with pq.ParquetFile(io.BytesIO(content)) as file:
        table = file.read()
    _ = table.column_names  # raises where they are not UTF-8
    return table


def _checked(
    table: pa.Table, path: str, record_type: type, required: Sequence[str], notices: list[str]
) -> pd.DataFrame:
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: lacks the columns {', '.join(missing)}; it was written by another version, "
            "run the sweep again with this one"
        )
    counts = Counter(table.column_names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: has the column {twice[0]} {counts[twice[0]]} times; write it again with each "
            "once"
        )
    older = [name for name in schema_of(record_type).names if name not in table.column_names]
    if older:
        notices.append(
            f"{Path(path).name} lacks the columns {', '.join(older)}: written by an older version; "
            "they are unknown here."
        )
    return conformed(table, path, record_type, notices)


def conformed(table: pa.Table, path: str, record_type: type, notices: list[str]) -> pd.DataFrame:
    """Return `table` with every column of the record's schema in the schema's type.

    Infinite numbers become unknown, said in `notices`: nothing can be placed or averaged with them.

    Raises:
        InputError: a column is of another type.
    """
    try:
        return _to_pandas(_without_infinite(_conform(table, path, record_type), path, notices))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: holds text that is not UTF-8 ({error}); write it again"
        ) from None


def no_epochs() -> pd.DataFrame:
    """Return the epochs of a run that recorded none."""
    return _to_pandas(schema_of(EpochRecord).empty_table())


def _conform(table: pa.Table, path: str, record_type: type) -> pa.Table:
    known = schema_of(record_type)
    metrics = [
        name
        for name in table.column_names
        if name.startswith(METRIC_PREFIX) and name not in known.names
    ]
    for wanted in [*known, *(pa.field(name, pa.float64()) for name in metrics)]:
        if wanted.name not in table.column_names:
            table = table.append_column(wanted, pa.nulls(table.num_rows, wanted.type))
            continue
        try:
            column = table[wanted.name].cast(wanted.type)
        except pa.ArrowException:
            raise InputError(
                f"{path}: column {wanted.name} holds {table[wanted.name].type}, not {wanted.type}; "
                "it was written by another version, run the sweep again with this one"
            ) from None
        table = table.set_column(table.column_names.index(wanted.name), wanted, column)
    return table


def _without_infinite(table: pa.Table, path: str, notices: list[str]) -> pa.Table:
    found = []
    for index, described in enumerate(table.schema):
        if not pa.types.is_floating(described.type):
            continue
        column = table.column(index)
        is_infinite = pc.is_inf(column)
        if pc.any(is_infinite).as_py():
            unknown = pa.scalar(None, described.type)
            known = pc.if_else(is_infinite, unknown, column)
            table = table.set_column(index, described, known)
            found.append(described.name)
    if found:
        notices.append(
            f"{Path(path).name} holds infinite numbers in {one_line(', '.join(found))}: taken for "
            "unknown."
        )
    return table


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    # nullable types: a missing peak must not turn the byte counts beside it into floats
    nullable: Mapping[pa.DataType, Any] = {
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    return table.to_pandas(types_mapper=nullable.get)


def _load_sweep(folder: Folder, notices: list[str]) -> SweepInfo:
    if not folder.exists(SWEEP):
        return SweepInfo()
    try:
        content = json.loads(folder.read(SWEEP).decode())
        if not isinstance(content, dict):
            raise ValueError("holds no JSON object")
        return _sweep_info(content)
    except (OSError, ValueError) as error:
        notices.append(f"{SWEEP} is left out: {one_line(error)}.")
        return SweepInfo()


def _sweep_info(content: Mapping[str, Any]) -> SweepInfo:
    space = content.get("space")
    return SweepInfo(
        name=_text(content.get("sweep")),
        command=_command(content.get("command")),
        budgets_bytes=_budgets(content.get("budgets_bytes")),
        num_trials=content["num_trials"] if _is_count(content.get("num_trials")) else None,
        varied=tuple(map(str, space)) if isinstance(space, dict) else (),
        started_at=_text(content.get("started_at")),
        versions=parse_versions(content.get("versions")),
    )


def parse_versions(value: object) -> dict[str, str]:
    """Return package name -> version of a mapping or its JSON text; empty where it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _budgets(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(_is_count(budget) for budget in value):
        raise ValueError(
            f"budgets_bytes={one_line(value)} must be a list of positive whole numbers of bytes, "
            "below 2^63"
        )
    return tuple(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _command(value: object) -> str | None:
    return shlex.join(map(str, value)) if isinstance(value, list) else _text(value)
