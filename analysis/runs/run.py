"""`Run`: the recorded results of one sweep or of several, and what is worked out of them once.

Knows nothing of files' formats, of choosing or of drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.runs.storage import Folder

T = TypeVar("T")

RUN = "run"
"""The column that names the run a trial or an epoch belongs to."""


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
    """The settings that were searched over."""
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
    """Name of a run -> what its sweep.json says."""
    folders: Mapping[str, Folder]
    """Name of a run -> its RUN_DIR; results of other tools have none."""
    notices: tuple[str, ...] = ()
    """One sentence for each file that was damaged or incomplete."""

    def trials_of(self, name: str) -> pd.DataFrame:
        """Return the trials of the run of that name."""
        return self.trials[self.masks_by_name[name]]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The trials as plain mappings in which unknown is None, in their order. Read only."""
        return rows_of(self.trials)

    def rows_where(self, mask: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
        """Return the rows of the trials that `mask` picks, in their order. Read only."""
        return [self.rows[index] for index in np.flatnonzero(mask).tolist()]

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """What functions under `once` have worked out: function -> answer."""
        return {}

    @cached_property
    def masks_by_name(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Name of a run -> which trials belong to it."""
        names = self.trials[RUN]
        return {name: (names == name).to_numpy(dtype=bool) for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.sweeps)

    @cached_property
    def budgets_bytes(self) -> tuple[int, ...]:
        """Every budget of the run, smallest first; empty for a run without budgets."""
        known = self.trials["budget_bytes"].dropna().unique()
        of_trials = (int(budget) for budget in known if budget > 0)
        of_sweeps = (budget for sweep in self.sweeps.values() for budget in sweep.budgets_bytes)
        return tuple(sorted({*of_sweeps, *of_trials}))

    @cached_property
    def metric_name(self) -> str:
        """Name of the one metric that the trials are compared by."""
        return self.only("metric_name") or "metric"

    @cached_property
    def dataset(self) -> str | None:
        """Name of the one data set of the run; None for a run without trials."""
        return self.only("dataset")

    @cached_property
    def data_is_sample(self) -> bool:
        """Whether any trial ran on small generated data instead of the real data set."""
        return bool(self.trials["data_is_sample"].fillna(False).any())

    @cached_property
    def title(self) -> str:
        """What the run is called over its figures."""
        names = [self._sweep_of(name) for name in self.names]
        several = names if len(set(names)) == len(names) else list(self.names)
        data = "" if self.dataset is None else f" on {self.dataset}"
        return f"{' and '.join(several)}{data}{' (sample data)' if self.data_is_sample else ''}"

    def _sweep_of(self, name: str) -> str:
        recorded = next(iter(self.trials_of(name)["sweep"].dropna()), None)
        return self.sweeps[name].name or recorded or name

    def only(self, column: str) -> str | None:
        """Return the first known value of a column that is the same in all trials."""
        values = self.trials[column].dropna()
        return None if values.empty else str(values.iloc[0])


def once(function: Callable[[Run], T]) -> Callable[[Run], T]:
    """Decorate a function of a run so that it works out its answer once for each run.

    Callers share the answer, so they must not change it.
    """

    @wraps(function)
    def kept(run: Run) -> T:
        found = run.worked_out
        if kept not in found:
            found[kept] = function(run)
        answer: T = found[kept]
        return answer

    return kept


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
        notices=(*notices, *told_apart_by_data(trials)),
    )


def told_apart_by_data(trials: pd.DataFrame) -> list[str]:
    """Return a sentence for the user if the trials were not all measured on the same data."""
    if "data_hash" not in trials:
        return []
    counts = trials["data_hash"].dropna().value_counts()
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{data_hash}: {number}" for data_hash, number in counts.items())
    return [
        f"The trials were measured on {len(counts)} different sets of images or labels (data_hash "
        f"and number of trials: {listed}), so their metrics cannot be compared."
    ]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame` as plain mappings in which unknown is None."""
    known = frame.notna()
    columns = [frame[name].astype(object).where(known[name], None).tolist() for name in frame]
    names = [str(name) for name in frame]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
