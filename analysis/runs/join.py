"""Several runs as one: `join_runs`. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import InputError, one_line
from analysis.runs.frames import to_pandas
from analysis.runs.run import RUN, Run, run_of, told_apart_by_data


def join_runs(runs: Sequence[Run]) -> Run:
    """Return several runs as one; a name that is taken already gets a number.

    Raises:
        InputError: their data or metrics differ, so they cannot be compared.
    """
    if len(runs) == 1:
        return runs[0]
    for what in ("metric_name", "dataset"):
        _check_equal(runs, what, [each.only(what) for each in runs])
    samples = [None if run.trials.empty else run.data_is_sample for run in runs]
    _check_equal(runs, "data_is_sample", samples)
    named: list[Run] = []
    theirs = {name for run in runs for name in run.names}
    for run in runs:
        for name in run.names:
            taken = {each.names[0] for each in named}
            free = (f"{name} ({n})" for n in count(2) if f"{name} ({n})" not in taken | theirs)
            named.append(_only_run(run, name, next(free) if name in taken else name))
    trials = _stacked(run.trials for run in named)
    # a run that mixes data has said so itself
    of_all = [] if any(told_apart_by_data(run.trials) for run in named) else told_apart_by_data(trials)
    return Run(
        trials=trials,
        epochs=_stacked(run.epochs for run in named),
        sweeps={name: sweep for run in named for name, sweep in run.sweeps.items()},
        folders={name: folder for run in named for name, folder in run.folders.items()},
        notices=(
            *(f"{run.names[0]}: {notice}" for run in runs for notice in run.notices),
            *of_all,
        ),
    )


def _only_run(run: Run, name: str, new_name: str) -> Run:
    """Return the run called `name` out of `run`, under a new name."""
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
    # through Arrow, since pandas guesses types where a column is unknown in one of the frames
    tables = [pa.Table.from_pandas(frame, preserve_index=False) for frame in frames]
    try:
        return to_pandas(pa.concat_tables(tables, promote_options="permissive"))
    except pa.ArrowException:  # a setting is a number in one run and a text in another
        return to_pandas(pa.concat_tables(_as_texts(tables), promote_options="permissive"))


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
