"""Other people's sweeps as a `Run` without a folder: what CSV files and Optuna studies share.

Their settings keep their own names, except those that are also a column of ours: `seed` becomes
`param seed`. Knows nothing of drawing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import InputError
from analysis.runs.frames import check_trials, conformed, no_epochs
from analysis.runs.run import RUN, Run, SweepInfo, run_of
from analysis.settings import SETTINGS
from patchtrain.record import METRIC_PREFIX, TrialRecord, TrialStatus, schema_of
from patchtrain.units import parse_bytes

SCHEMA = schema_of(TrialRecord)
KNOWN = frozenset(SCHEMA.names)
NOT_SETTINGS = frozenset({"on_front", RUN})

STATES = {
    "COMPLETE": TrialStatus.COMPLETED,
    "PRUNED": TrialStatus.STOPPED_EARLY,
    "FAIL": TrialStatus.FAILED,
}
"""How a trial ended: Optuna's name -> ours."""

Values = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Names:
    """Which column, objective or attribute holds metric and peak; None: the reader's default."""

    metric: str | None = None
    peak: str | None = None
    peak_unit: str = "1B"
    """The size that 1 of the peak stands for, such as `1MB`."""
    is_lower_better: bool = False
    """Whether the metric is; its sign is then turned, since more is better here."""


def foreign_run(
    name: str,
    *,
    metric_name: str,
    metric: Sequence[float | None],
    peak: Sequence[float | None],
    columns: Mapping[str, Values],
    settings: Mapping[str, Values],
    names: Names,
    source: str,
) -> Run:
    """Return a run without a folder.

    Args:
        name: what it is called.
        metric_name: what the metric is called.
        metric: the value of each trial, as it was found.
        peak: the peak of each trial, in `names.peak_unit`.
        columns: column of a `TrialRecord` -> value of each trial; where the values are of another
            kind than the record's, a setting's column counts as a foreign setting.
        settings: foreign setting -> value of each trial.
        names: how metric and peak are to be read.
        source: where the trials were read from.

    Raises:
        InputError: `names.peak_unit` is not a size, or the trials cannot be compared.
    """
    notices = [f"Read from {source}: there is no folder to train a trial again from."]
    if names.is_lower_better:
        metric = [None if value is None else -value for value in metric]
        notices.append(f"{metric_name} is better when it is lower, so it is shown with a minus.")
        metric_name = f"-{metric_name}"
    peaks = _peaks(peak, names.peak_unit, notices)
    of_record, others, left_out = _by_type(columns)
    if left_out:
        notices.append(f"Left out, since their values are of another kind: {', '.join(left_out)}.")
    own = _own_settings({**others, **settings}, taken=settings)
    content = {
        **of_record,
        **_identity(of_record, metric),
        "metric_name": [metric_name] * len(metric),
        "metric": metric,
        "peak_allocated_bytes": peaks,
        **own,
    }
    table = pa.table({column: _array(values) for column, values in content.items()})
    trials = conformed(table, source, TrialRecord, notices)
    check_trials(trials, source)
    sweep = SweepInfo(name=name, varied=tuple(own))
    return run_of(name, trials=trials, epochs=no_epochs(), sweep=sweep, notices=notices)


def _peaks(peak: Sequence[float | None], unit_text: str, notices: list[str]) -> list[int | None]:
    try:
        unit = parse_bytes(unit_text)
    except ValueError as error:
        raise InputError(f"--peak-unit={unit_text!r}: {error}") from None
    peaks = [_whole_bytes(value, unit) for value in peak]
    num_odd = sum(
        given is not None and read is None for given, read in zip(peak, peaks, strict=True)
    )
    if num_odd:
        notices.append(
            f"The peak of {num_odd} trials is negative, infinite or 2^63 bytes or more: shown as "
            "unknown."
        )
    return peaks


def _identity(
    columns: Mapping[str, Values], metric: Sequence[float | None]
) -> dict[str, list[str]]:
    """Return id and status of each trial: as given, else its number, and whether it has a metric."""
    numbers = [str(index) for index in range(len(metric))]
    default_status = [
        (TrialStatus.FAILED if value is None else TrialStatus.COMPLETED).value for value in metric
    ]
    return {
        "trial_id": _ids(columns.get("trial_id"), numbers),
        "status": _filled(columns.get("status"), default_status),
    }


def _own_settings(
    settings: Mapping[str, Values], taken: Collection[str]
) -> dict[str, Values]:
    """Return the settings under names that no column of ours and no other setting has."""
    own: dict[str, Values] = {}
    for setting, values in settings.items():
        name = _own_name(setting)
        while name in own or (name != setting and name in taken):
            name = f"param {name}"
        own[name] = values
    return own


def _by_type(
    columns: Mapping[str, Values],
) -> tuple[dict[str, Values], dict[str, Values], list[str]]:
    """Return the columns that fit the record's types, the settings that do not, other names."""
    of_record, settings, left_out = {}, {}, []
    for name, values in columns.items():
        if name not in KNOWN or fits(values, SCHEMA.field(name).type):
            of_record[name] = values
        elif name in (*SETTINGS, "seed", "epochs"):
            settings[name] = values
        else:
            left_out.append(name)
    return of_record, settings, left_out


def _own_name(name: str) -> str:
    """Return the name of a foreign setting: another one if a column of ours has it."""
    is_ours = name in KNOWN or name in NOT_SETTINGS or name.startswith(METRIC_PREFIX)
    return f"param {name}" if is_ours else name


def fits(values: Values, wanted: pa.DataType) -> bool:
    """Return whether the values can be read as that type."""
    try:
        _array(values).cast(wanted)
    except pa.ArrowException:
        return False
    return True


def _ids(given: Values | None, numbers: Sequence[str]) -> list[str]:
    """Return the ids of trials; one without an id is called by its number, if that is free."""
    taken = {str(value) for value in given or () if not is_blank(value)}
    free = [number if number not in taken else f"row {number}" for number in numbers]
    return _filled(given, free)


def _filled(values: Values | None, defaults: Sequence[str]) -> list[str]:
    if values is None:
        return list(defaults)
    return [
        default if is_blank(value) else str(value)
        for value, default in zip(values, defaults, strict=True)
    ]


def _whole_bytes(value: float | None, unit: int) -> int | None:
    if value is None or not math.isfinite(value) or not 0 <= value * unit < 2**63 - 1024:
        return None
    return round(value * unit)


def is_blank(value: Any) -> bool:
    """Return whether a value says that it is unknown."""
    return value is None or value is pd.NA or bool(value != value) or str(value).strip() == ""


def _array(values: Values) -> pa.Array:
    plain = [None if is_blank(value) else value for value in values]
    try:
        return pa.array(plain)
    except (pa.ArrowException, OverflowError):  # of several kinds, or too large
        return pa.array([None if value is None else str(value) for value in plain])


def number(value: Any, option: str, source: object) -> float | None:
    """Return a value as a number; None where it is unknown.

    Raises:
        InputError: it is neither.
    """
    if is_blank(value) or value in ("None", "none", "null"):
        return None
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{option}: {source} holds {value!r} there, which is not a number")
    return float(value)


def _parsed(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
