"""Which settings the trials of a run differ in, and which of them tables show.

Knows nothing of files, figures or pages.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from pandas.api.types import is_numeric_dtype, is_string_dtype

from analysis.runs.run import RUN, Run, once
from analysis.settings import ALWAYS_SHOWN, DERIVED, SETTINGS, heading_of, is_setting
from patchtrain.record import TrialRecord, schema_of

OUR_COLUMNS = frozenset(schema_of(TrialRecord).names)


@once
def shown_settings(run: Run) -> Mapping[str, str]:
    """Return column -> heading of the settings that a table of the trials shows."""
    listed = [name for name in SETTINGS if name in ALWAYS_SHOWN or _differs(run.trials[name])]
    return {name: headings(run)[name] for name in (*listed, *further_settings(run))}


@once
def varied_settings(run: Run) -> tuple[str, ...]:
    """Return the settings in which trials differ, budget included."""
    names = [*SETTINGS, "budget_bytes", *further_settings(run)]
    return tuple(name for name in names if name not in DERIVED and _differs(run.trials[name]))


@once
def further_settings(run: Run) -> tuple[str, ...]:
    """Return the settings beyond `SETTINGS`: our own that differ, then those of others' sweeps."""
    return (*unlisted_settings(run), *foreign_settings(run))


@once
def unlisted_settings(run: Run) -> tuple[str, ...]:
    """Return the recorded settings that `SETTINGS` does not list and that trials differ in."""
    known = {*SETTINGS, *foreign_settings(run), RUN}
    return tuple(
        name
        for name in map(str, run.trials)
        if name not in known
        and is_setting(name)
        and _is_plain(run.trials[name])
        and _differs(run.trials[name])
    )


@once
def foreign_settings(run: Run) -> tuple[str, ...]:
    """Return the searched settings that this project's trials do not have, as others' sweeps do."""
    searched = (name for sweep in run.sweeps.values() for name in sweep.varied)
    known = {*SETTINGS, "budget_bytes"}
    return tuple(
        name for name in dict.fromkeys(searched) if name not in known and name in run.trials
    )


@once
def headings(run: Run) -> Mapping[str, str]:
    """Return setting -> heading; settings of others' sweeps keep the names they came with."""
    ours = (*SETTINGS, "budget_bytes", *unlisted_settings(run))
    found = {name: heading_of(name) for name in ours}
    for name in foreign_settings(run):
        found[name] = heading_of(name) if name in OUR_COLUMNS else name
    return found


def is_text(column: pd.Series) -> bool:
    """Return whether a column holds names, not numbers."""
    return not is_numeric_dtype(column)


def _is_plain(column: pd.Series) -> bool:
    """Return whether every cell is one number or one text, not a list or a time."""
    return is_numeric_dtype(column) or is_string_dtype(column)


def _differs(column: pd.Series) -> bool:
    return column.nunique(dropna=True) > 1
