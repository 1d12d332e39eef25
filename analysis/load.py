"""Reads and checks a RUN_DIR: `load_run`. Knows nothing of training, searching or drawing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from patchtrain.record import METRIC_PREFIX, EpochRecord, TrialRecord, schema_of

REQUIRED_TRIAL_COLUMNS = (
    "trial_id",
    "status",
    "dataset",
    "data_is_sample",
    "method",
    "image_size",
    "patch_size",
    "sampling_rate",
    "num_sampled",
    "inner_iterations",
    "fusion",
    "backbone",
    "budget_bytes",
    "peak_allocated_bytes",
    "metric_name",
    "metric",
)
"""Without these a trial cannot be placed or described; any other column may be absent."""

REQUIRED_EPOCH_COLUMNS = ("trial_id", "epoch", "metric")


class InputError(Exception):
    """What the user gave cannot be used. One line: the file or option, the rule and the remedy."""


@dataclass(frozen=True, kw_only=True)
class SweepInfo:
    """What `sweep.json` says of the run as a whole; None or empty where it does not say."""

    name: str | None = None
    command: str | None = None
    """The command line that made the run."""
    budgets_bytes: tuple[int, ...] = ()
    num_trials: int | None = None
    """How many trials were asked for."""
    started_at: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A sweep's results as they were recorded: one row a trial, one row an epoch."""

    directory: Path
    trials: pd.DataFrame
    """Columns of `TrialRecord.to_row`; whole numbers are nullable integers, unknown is missing."""
    epochs: pd.DataFrame
    """Columns of `EpochRecord.to_row`; no rows where the run has no epochs.parquet."""
    sweep: SweepInfo

    @property
    def budgets_bytes(self) -> tuple[int, ...]:
        """Every budget of the run, smallest first; empty for a run without budgets."""
        of_trials = (int(budget) for budget in self.trials["budget_bytes"].dropna().unique())
        return tuple(sorted({*self.sweep.budgets_bytes, *of_trials}))

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


def load_run(run_dir: str | Path) -> Run:
    """Return the run recorded in the folder `run_dir`.

    Raises:
        InputError: no such folder, a file is missing, damaged or of another schema, or the trials
            cannot be compared with each other.
    """
    directory = Path(run_dir)
    if not directory.is_dir():
        found = "is no folder" if directory.exists() else "does not exist"
        raise InputError(f"{directory}: {found}; give the --out folder of a sweep")
    return Run(
        directory=directory,
        trials=_load_trials(directory / "trials.parquet"),
        epochs=_load_epochs(directory / "epochs.parquet"),
        sweep=_load_sweep(directory / "sweep.json"),
    )


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame` as plain mappings in which unknown is None."""
    plain = frame.astype(object)
    return [
        {str(name): value for name, value in row.items()}
        for row in plain.where(frame.notna(), None).to_dict("records")
    ]


def _load_trials(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"{path}: does not exist; is it a RUN_DIR? run a sweep first")
    trials = _read_parquet(path, TrialRecord, REQUIRED_TRIAL_COLUMNS)
    for column in ("trial_id", "status"):
        if trials[column].isna().any():
            row = int(trials[column].isna().to_numpy().argmax())
            raise InputError(f"{path}: row {row} has no {column}; write the file again")
    for column in ("metric_name", "dataset"):
        values = sorted(trials[column].dropna().unique())
        if len(values) > 1:
            raise InputError(
                f"{path}: {column} differs between trials ({_one_line(', '.join(values))}), so "
                "they cannot be compared; keep one RUN_DIR for each"
            )
    return trials


def _load_epochs(path: Path) -> pd.DataFrame:
    if not path.exists():
        return _to_pandas(schema_of(EpochRecord).empty_table())
    return _read_parquet(path, EpochRecord, REQUIRED_EPOCH_COLUMNS)


def _read_parquet(path: Path, record_type: type, required: tuple[str, ...]) -> pd.DataFrame:
    try:
        # not pq.read_table, which takes a folder named `a=b` for a column of the table
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: is not a whole Parquet file ({_one_line(error)}); "
            "copy it again or resume the sweep that writes it"
        ) from None
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: lacks the columns {', '.join(missing)}; it was written by another version, "
            "run the sweep again with this one"
        )
    try:
        return _to_pandas(_conform(table, path, record_type))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: holds text that is not UTF-8 ({error}); write it again"
        ) from None


def _conform(table: pa.Table, path: Path, record_type: type) -> pa.Table:
    """Return `table` with every column of the record's schema in the schema's type."""
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


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    # nullable types: a missing peak must not turn the byte counts beside it into floats
    nullable: Mapping[pa.DataType, Any] = {
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    return table.to_pandas(types_mapper=nullable.get)


def _load_sweep(path: Path) -> SweepInfo:
    if not path.exists():
        return SweepInfo()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: is not JSON ({_one_line(error)}); move it away, the report does without it"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object; move it away, the report does without it")
    return SweepInfo(
        name=_text(content.get("sweep")),
        command=_command(content.get("command")),
        budgets_bytes=_budgets(content.get("budgets_bytes"), path),
        num_trials=content["num_trials"] if _is_count(content.get("num_trials")) else None,
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


def _budgets(value: object, path: Path) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(_is_count(budget) for budget in value):
        raise InputError(
            f"{path}: budgets_bytes={_one_line(value)} must be a list of positive whole numbers "
            "of bytes; mend it or move the file away"
        )
    return tuple(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _command(value: object) -> str | None:
    return shlex.join(map(str, value)) if isinstance(value, list) else _text(value)


def _one_line(value: object, most: int = 160) -> str:
    line = " ".join(str(value).split())
    return line if len(line) <= most else line[: most - 1] + "…"
