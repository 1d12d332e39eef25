"""Reads a sweep from a CSV file, one row a trial: `run_from_csv`."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import InputError, one_line
from analysis.runs.foreign import (
    KNOWN,
    NOT_SETTINGS,
    SCHEMA,
    STATES,
    Names,
    Values,
    fits,
    foreign_run,
    is_blank,
    number,
)
from analysis.runs.join import join_runs
from analysis.runs.run import RUN, Run
from patchtrain.record import METRIC_PREFIX, TrialStatus

TEXTS = tuple(f.name for f in SCHEMA if f.type == pa.string())

OWN_COLUMNS = frozenset({"trial_id", "status", "metric_name", "on_front"})
"""A table with these columns was written by a report."""

_RESULTS = ("metric", "peak_allocated_bytes")

UNKNOWN = ("", "nan", "NaN", "NA", "N/A", "#N/A")
"""What a CSV writes for an unknown value. `None` is not among them: it may be a choice."""


def run_from_csv(path: Path, names: Names) -> Run:
    """Return the trials of a CSV file, a row each.

    Columns named as in trials.parquet are taken as they are, all others as settings. A setting's
    column whose values are of another kind than ours (a `patch_size` of `16x16`) and a `group` that
    does not hold trial_ids are taken as settings too. A report's own trials.csv over several runs
    is split into these runs again. A row without a `status` is completed if it has a metric, else
    failed; one without a `trial_id` is called by its number.

    Raises:
        InputError: it cannot be read, has no column for the metric or the peak, an unknown status,
            or trials that share an id or cannot be compared.
    """
    try:
        frame = _frame_of(path)
    except OSError as error:
        raise InputError(f"--from-csv={path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise InputError(
            f"--from-csv={path}: is not a table of comma-separated values ({one_line(error)})"
        ) from None
    if not set(frame.columns) >= OWN_COLUMNS:
        return _csv_run(path.stem, frame, path, names, is_own=False)
    if RUN not in frame or frame[RUN].isna().any():
        return _csv_run(path.stem, frame, path, names, is_own=True)
    parts = frame.groupby(RUN, sort=False)
    return join_runs([_csv_run(str(n), part, path, names, is_own=True) for n, part in parts])


def _csv_run(name: str, frame: pd.DataFrame, path: Path, names: Names, *, is_own: bool) -> Run:
    """Return the rows of one run; `is_own` where a report wrote the table."""
    columns = {str(name): frame[name] for name in frame.columns}
    metric = _column(columns, names.metric or "metric", "--metric", path)
    peak = _column(columns, names.peak or "peak_allocated_bytes", "--peak", path)
    taken = {names.metric or "metric", names.peak or "peak_allocated_bytes"}
    if is_own:  # these are results even if others were asked for, never settings
        taken |= {*_RESULTS, *NOT_SETTINGS}
    rest = {name: column.tolist() for name, column in columns.items() if name not in taken}
    known = _known(rest, path)
    if names.metric is None:
        _check_metric_name(known, path)
    return foreign_run(
        name,
        metric_name=names.metric or _only(known.get("metric_name")) or "metric",
        metric=[number(value, "--metric", path) for value in metric],
        peak=[number(value, "--peak", path) for value in peak],
        columns=known,
        settings={name: values for name, values in rest.items() if name not in known},
        names=names,
        source=str(path),
    )


def _known(rest: Mapping[str, Values], path: Path) -> dict[str, Values]:
    """Return the columns that mean the same as our columns of that name."""
    known = {name: values for name, values in rest.items() if _is_ours(name, values)}
    ids = set(map(str, known.get("trial_id", ())))
    if any(not is_blank(value) and str(value) not in ids for value in known.get("group", ())):
        del known["group"]
    if "status" in known:
        known["status"] = [
            None if is_blank(value) else _status(value, row, path)
            for row, value in enumerate(known["status"])
        ]
    return known


def _is_ours(name: str, values: Values) -> bool:
    if name in KNOWN and name not in _RESULTS:
        return True
    return name.startswith(METRIC_PREFIX) and fits(values, pa.float64())


def _check_metric_name(known: Mapping[str, Values], path: Path) -> None:
    found = {value for value in known.get("metric_name", ()) if isinstance(value, str)}
    if len(found) > 1:
        raise InputError(
            f"--from-csv={path}: metric_name differs between rows "
            f"({one_line(', '.join(sorted(found)))}); give rows of one"
        )


def _frame_of(path: Path) -> pd.DataFrame:
    _check_fields(path)
    how: dict[str, Any] = {
        "dtype": dict.fromkeys(TEXTS, "str"),  # names of trials may look like numbers
        "keep_default_na": False,
        "na_values": list(UNKNOWN),
        "index_col": False,  # else a comma at the end of rows shifts all names by one
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of that comma
        try:
            frame = pd.read_csv(path, dtype_backend="pyarrow", **how)
        except OverflowError:  # whole numbers of more than 64 bits
            frame = pd.read_csv(path, **how)
    unnamed = [name for name in frame if str(name).startswith("Unnamed: ")]
    return frame.drop(columns=[name for name in unnamed if frame[name].isna().all()])


def _check_fields(path: Path) -> None:
    """Raise `ValueError` if a row has more fields than there are names."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        num_names = len(next(rows, []))
        for row in rows:
            if any(field.strip() for field in row[num_names:]):
                raise ValueError(f"line {rows.line_num} has more values than there are names")


def _status(value: Any, row: int, path: Path) -> str:
    name = "_".join(str(value).strip().lower().replace("-", " ").split())
    known = {status.value: status for status in TrialStatus}
    known |= {state.lower(): status for state, status in STATES.items()}
    if name not in known:
        raise InputError(
            f"--from-csv={path}: row {row + 1} has the status {value!r}, which is not one of "
            f"{', '.join(known)}; use one of these, or leave it empty"
        )
    return known[name].value


def _column(columns: Mapping[str, pd.Series], name: str, option: str, path: Path) -> list[Any]:
    if name not in columns:
        is_split = len(columns) > 1 or not any(mark in "".join(columns) for mark in ";\t")
        remedy = (
            f"name it by {option}, one of: {', '.join(columns)}"
            if is_split
            else "values must be separated by commas"
        )
        raise InputError(f"--from-csv={path}: has no column {name}; {remedy}")
    return columns[name].tolist()


def _only(values: Values | None) -> str | None:
    known = [value for value in values or () if isinstance(value, str)]
    return known[0] if known else None
