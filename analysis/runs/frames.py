"""Parquet tables as data frames with every column that the records have, in the records' types.

Knows nothing of folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.errors import InputError, one_line
from patchtrain.record import METRIC_PREFIX, EpochRecord, schema_of


def checked(
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
            "they are shown as unknown."
        )
    return conformed(table, path, record_type, notices)


def conformed(table: pa.Table, path: str, record_type: type, notices: list[str]) -> pd.DataFrame:
    """Return `table` with every column of the record's schema in the schema's type.

    Infinite numbers become unknown, said in `notices`: nothing can be placed or averaged with them.

    Raises:
        InputError: a column is of another type.
    """
    try:
        return to_pandas(_without_infinite(_conform(table, path, record_type), path, notices))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: holds text that is not UTF-8 ({error}); write it again"
        ) from None


def no_epochs() -> pd.DataFrame:
    """Return the epochs of a run that recorded none."""
    return to_pandas(schema_of(EpochRecord).empty_table())


def check_trials(trials: pd.DataFrame, path: str) -> None:
    """Raise `InputError` if two trials have one id or cannot be compared."""
    twice = trials["trial_id"][trials["trial_id"].duplicated()]
    if not twice.empty:
        raise InputError(
            f"{path}: trial_id {one_line(twice.iloc[0])!r} is used by several rows; give each row "
            "its own"
        )
    for column in ("metric_name", "dataset"):
        values = sorted(trials[column].dropna().unique())
        if len(values) > 1:
            raise InputError(
                f"{path}: {column} differs between trials ({one_line(', '.join(values))}), so "
                "they cannot be compared; keep a run for each"
            )


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
            f"{Path(path).name} holds infinite numbers in {one_line(', '.join(found))}: shown as "
            "unknown."
        )
    return table


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return `table` with whole numbers and truth values as nullable types."""
    # nullable types: a missing peak must not turn the byte counts beside it into floats
    nullable: Mapping[pa.DataType, Any] = {
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    return table.to_pandas(types_mapper=nullable.get)
