"""Reads other people's sweeps: an Optuna study or a CSV file, as a `Run` without a folder.

Their settings keep their own names, but for those that a column of ours has: `seed` becomes
`param seed`. Knows nothing of drawing.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import InputError, one_line
from analysis.load import (
    RUN,
    Run,
    SweepInfo,
    check_trials,
    conformed,
    join_runs,
    no_epochs,
    run_of,
)
from analysis.settings import SETTINGS
from patchtrain.record import METRIC_PREFIX, TrialRecord, TrialStatus, schema_of
from patchtrain.units import parse_bytes

SCHEMA = schema_of(TrialRecord)
KNOWN = frozenset(SCHEMA.names)
TEXTS = tuple(f.name for f in SCHEMA if f.type == pa.string())
NOT_SETTINGS = frozenset({"on_front", RUN})

STATES = {
    "COMPLETE": TrialStatus.COMPLETED,
    "PRUNED": TrialStatus.STOPPED_EARLY,
    "FAIL": TrialStatus.FAILED,
}
"""What Optuna calls how a trial ended -> what it is called here."""

OWN_COLUMNS = frozenset({"trial_id", "status", "metric_name", "on_front"})
"""Of a table that a report wrote."""

_RESULTS = ("metric", "peak_allocated_bytes")

UNKNOWN = ("", "nan", "NaN", "NA", "N/A", "#N/A")
"""How a CSV says that it does not know. `None` may be a choice like any other."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Which of the foreign columns, objectives or attributes is what; None: see the readers."""

    metric: str | None = None
    peak: str | None = None
    peak_unit: str = "1B"
    """The size that 1 of the peak stands for, such as `1MB`."""
    is_lower_better: bool = False
    """Of the metric. It is turned around, since here more is better."""


def run_from_csv(path: Path, names: Names) -> Run:
    """Return the trials of a CSV file, a row each.

    Columns named as in trials.parquet are taken as they are, all others for settings; so are a
    setting's column whose values are of another kind than ours (`patch_size` of `16x16`) and a
    `group` that holds no trial_ids. A report's own trials.csv over several runs is taken apart
    again. A row without a `status` is completed if it has a metric, else
    failed; one without a `trial_id` is called by its number.

    Raises:
        InputError: it cannot be read, has no column for the metric or the peak, a status that is
            none, or trials that have one id or cannot be compared.
    """
    try:
        frame = _frame_of(path)
    except OSError as error:
        raise InputError(f"--from-csv={path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise InputError(
            f"--from-csv={path}: is no table of comma-separated values ({one_line(error)})"
        ) from None
    if not set(frame.columns) >= OWN_COLUMNS:
        return _csv_run(path.stem, frame, path, names, is_own=False)
    if RUN not in frame or frame[RUN].isna().any():
        return _csv_run(path.stem, frame, path, names, is_own=True)
    parts = frame.groupby(RUN, sort=False)
    return join_runs([_csv_run(str(n), part, path, names, is_own=True) for n, part in parts])


def _csv_run(name: str, frame: pd.DataFrame, path: Path, names: Names, *, is_own: bool) -> Run:
    """Return the rows of one run; `is_own`: they are of a table that we wrote."""
    columns = {str(name): frame[name] for name in frame.columns}
    metric = _column(columns, names.metric or "metric", "--metric", path)
    peak = _column(columns, names.peak or "peak_allocated_bytes", "--peak", path)
    taken = {names.metric or "metric", names.peak or "peak_allocated_bytes"}
    if is_own:  # what is not asked for is a result all the same, and no setting
        taken |= {"metric", "peak_allocated_bytes", *NOT_SETTINGS}
    rest = {name: column.tolist() for name, column in columns.items() if name not in taken}
    known = {
        name: values
        for name, values in rest.items()
        if (name in KNOWN and name not in _RESULTS)
        or (name.startswith(METRIC_PREFIX) and _fits(values, pa.float64()))
    }
    ids = set(map(str, known.get("trial_id", ())))
    if any(not _is_blank(v) and str(v) not in ids for v in known.get("group", ())):
        del known["group"]
    if "status" in known:
        known["status"] = [
            None if _is_blank(value) else _status(value, row, path)
            for row, value in enumerate(known["status"])
        ]
    settings = {name: values for name, values in rest.items() if name not in known}
    of_metric = {value for value in known.get("metric_name", ()) if isinstance(value, str)}
    if names.metric is None and len(of_metric) > 1:
        raise InputError(
            f"--from-csv={path}: metric_name differs between rows "
            f"({one_line(', '.join(sorted(of_metric)))}); give rows of one"
        )
    return _run(
        name,
        metric_name=names.metric or _only(known.get("metric_name")) or "metric",
        metric=[_number(value, "--metric", path) for value in metric],
        peak=[_number(value, "--peak", path) for value in peak],
        columns=known,
        settings=settings,
        names=names,
        source=str(path),
    )


def run_from_optuna(url: str, study_name: str | None, names: Names) -> Run:
    """Return the finished trials of an Optuna study.

    Args:
        url: a storage URL (`sqlite:///study.db`), or the path of a journal file.
        study_name: may be left out where the storage has one study.
        names: metric and peak are each an objective (its metric name, or its index) or a user
            attribute. Without names the metric is the first objective that is maximised, and the
            peak the attribute `peak_allocated_bytes` or another objective, one that is minimised.

    Raises:
        InputError: there is no such study, or it has no peak.
    """
    study = _study(url, study_name)
    indices = [str(i) for i in range(len(study.directions))]
    objectives = {name: i for i, name in enumerate(study.metric_names or indices)}
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    attributes = sorted({name for trial in finished for name in trial.user_attrs})
    is_down = {name: study.directions[i].name == "MINIMIZE" for name, i in objectives.items()}

    def named(given: str | None) -> str | None:
        is_index = given in indices and given not in objectives and given not in attributes
        return list(objectives)[indices.index(str(given))] if is_index else given

    metric = named(names.metric) or next(
        (n for n in objectives if not is_down[n]), next(iter(objectives))
    )
    peak = named(names.peak) or (
        "peak_allocated_bytes"
        if "peak_allocated_bytes" in attributes
        else next((n for n in objectives if is_down[n] and n != metric), None)
    )
    for what, name in (("--metric", metric), ("--peak", peak)):
        if name not in objectives and name not in attributes:
            known = ", ".join([*objectives, *attributes]) or "none"
            given = f"={name!r} is not known" if name else " is not given and cannot be told"
            raise InputError(
                f"{what}{given} in study {study.study_name!r}; name an objective or a user "
                f"attribute, one of: {known}"
            )

    def value_of(trial: Any, name: str) -> Any:
        if name in objectives:
            return trial.values[objectives[name]] if trial.values else None
        return trial.user_attrs.get(name)

    parameters = {
        name: [trial.params.get(name) for trial in finished]
        for name in dict.fromkeys(name for trial in finished for name in trial.params)
    }
    lower = names.is_lower_better or is_down.get(str(metric), False)
    return _run(
        study.study_name,
        metric_name=f"objective {metric}" if metric.isdecimal() else metric,
        metric=[_number(value_of(trial, metric), "--metric", url) for trial in finished],
        peak=[_number(value_of(trial, str(peak)), "--peak", url) for trial in finished],
        columns={name: values for name, values in parameters.items() if name in SETTINGS}
        | {
            "trial_id": [str(trial.number) for trial in finished],
            "status": [_state(trial) for trial in finished],
            "error": [_VIOLATED if _is_violated(trial) else None for trial in finished],
            "started_at": [trial.datetime_start for trial in finished],
            "finished_at": [trial.datetime_complete for trial in finished],
        },
        settings={name: values for name, values in parameters.items() if name not in SETTINGS},
        names=Names(metric=metric, peak=peak, peak_unit=names.peak_unit, is_lower_better=lower),
        source=url,
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


def _study(url: str, study_name: str | None) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: Any = url
    if "://" not in url:
        if not Path(url).is_file():
            raise InputError(
                f"--from-optuna={url}: is neither a storage URL such as sqlite:///study.db nor the "
                "path of a journal file that exists"
            )
    elif not _sqlite_exists(url):
        raise InputError(f"--from-optuna={url}: there is no such file")
    try:
        if "://" not in url:
            storage = JournalStorage(JournalFileBackend(url))
        found = optuna.get_all_study_names(storage)
        if not found:
            raise InputError(
                f"--from-optuna={url}: holds no study; give the storage that the search wrote to"
            )
        if study_name is None and len(found) == 1:
            study_name = found[0]
        if study_name not in found:
            raise InputError(
                f"--study={study_name or ''}: {url} holds {', '.join(found)}; name one of them"
            )
        return optuna.load_study(study_name=study_name, storage=storage)
    except InputError:
        raise
    except Exception as error:  # every database has errors of its own
        raise InputError(f"--from-optuna={url}: cannot be read ({one_line(error)})") from None


_VIOLATED = "violates the study's constraints"


def _is_violated(trial: Any) -> bool:
    return any(value > 0 for value in trial.system_attrs.get("constraints") or ())


def _state(trial: Any) -> str:
    return (TrialStatus.FAILED if _is_violated(trial) else STATES[trial.state.name]).value


def _sqlite_exists(url: str) -> bool:
    """Return whether the file of an SQLite URL is there; SQLite would make it anew."""
    if not url.startswith("sqlite"):
        return True
    path = url.partition(":///")[2].partition("?")[0]
    return path in ("", ":memory:") or Path(path).is_file()


def _run(
    name: str,
    *,
    metric_name: str,
    metric: Sequence[float | None],
    peak: Sequence[float | None],
    columns: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Sequence[Any]],
    names: Names,
    source: str,
) -> Run:
    notices = [f"Read from {source}: there is no folder to train a trial again from."]
    if names.is_lower_better:
        metric = [None if value is None else -value for value in metric]
        notices.append(f"{metric_name} is better when it is lower, so it is shown with a minus.")
        metric_name = f"-{metric_name}"
    try:
        unit = parse_bytes(names.peak_unit)
    except ValueError as error:
        raise InputError(f"--peak-unit={names.peak_unit!r}: {error}") from None
    peaks = [_whole_bytes(value, unit) for value in peak]
    num_odd = sum(
        given is not None and read is None for given, read in zip(peak, peaks, strict=True)
    )
    if num_odd:
        notices.append(
            f"The peak of {num_odd} trials is negative, infinite or of 2^63 bytes or more: taken "
            "for unknown."
        )
    count = len(metric)
    default_status = [
        (TrialStatus.FAILED if value is None else TrialStatus.COMPLETED).value for value in metric
    ]
    numbers = [str(index) for index in range(count)]
    of_record, others, left_out = _by_type(columns)
    if left_out:
        notices.append(f"Left out, since their values are of another kind: {', '.join(left_out)}.")
    own: dict[str, Sequence[Any]] = {}
    for setting, values in {**others, **settings}.items():
        own_name = _own_name(setting)
        while own_name in own or (own_name != setting and own_name in settings):
            own_name = f"param {own_name}"
        own[own_name] = values
    content: dict[str, Sequence[Any]] = {
        **of_record,
        "trial_id": _ids(of_record.get("trial_id"), numbers),
        "status": _filled(of_record.get("status"), default_status),
        "metric_name": [metric_name] * count,
        "metric": metric,
        "peak_allocated_bytes": peaks,
    }
    table = pa.table({n: _array(values) for n, values in (content | own).items()})
    trials = conformed(table, source, TrialRecord, notices)
    check_trials(trials, source)
    return run_of(
        name,
        trials=trials,
        epochs=no_epochs(),
        sweep=SweepInfo(name=name, varied=tuple(own)),
        notices=notices,
    )


def _by_type(
    columns: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, Sequence[Any]], dict[str, Sequence[Any]], list[str]]:
    """Return the columns that fit the record's types, the settings that do not, other names."""
    of_record, settings, left_out = {}, {}, []
    for name, values in columns.items():
        if name not in KNOWN or _fits(values, SCHEMA.field(name).type):
            of_record[name] = values
        elif name in (*SETTINGS, "seed", "epochs"):
            settings[name] = values
        else:
            left_out.append(name)
    return of_record, settings, left_out


def _own_name(name: str) -> str:
    """Return the name of a foreign setting: another one where columns of ours have it."""
    is_ours = name in KNOWN or name in NOT_SETTINGS or name.startswith(METRIC_PREFIX)
    return f"param {name}" if is_ours else name


def _fits(values: Sequence[Any], wanted: pa.DataType) -> bool:
    try:
        _array(values).cast(wanted)
    except pa.ArrowException:
        return False
    return True


def _ids(given: Sequence[Any] | None, numbers: Sequence[str]) -> list[str]:
    """Return the ids of trials; one without is called by its number, if no other is."""
    taken = {str(value) for value in given or () if not _is_blank(value)}
    free = [number if number not in taken else f"row {number}" for number in numbers]
    return _filled(given, free)


def _filled(values: Sequence[Any] | None, defaults: Sequence[str]) -> list[str]:
    if values is None:
        return list(defaults)
    return [
        default if _is_blank(value) else str(value)
        for value, default in zip(values, defaults, strict=True)
    ]


def _status(value: Any, row: int, path: Path) -> str:
    name = "_".join(str(value).strip().lower().replace("-", " ").split())
    known = {status.value: status for status in TrialStatus}
    known |= {state.lower(): status for state, status in STATES.items()}
    if name not in known:
        raise InputError(
            f"--from-csv={path}: row {row + 1} has the status {value!r}, which is none of "
            f"{', '.join(known)}; name it so, or leave it empty"
        )
    return known[name].value


def _whole_bytes(value: float | None, unit: int) -> int | None:
    if value is None or not math.isfinite(value) or not 0 <= value * unit < 2**63 - 1024:
        return None
    return round(value * unit)


def _is_blank(value: Any) -> bool:
    return value is None or value is pd.NA or bool(value != value) or str(value).strip() == ""


def _array(values: Sequence[Any]) -> pa.Array:
    plain = [None if _is_blank(value) else value for value in values]
    try:
        return pa.array(plain)
    except (pa.ArrowException, OverflowError):  # of several kinds, or too large
        return pa.array([None if value is None else str(value) for value in plain])


def _column(columns: Mapping[str, pd.Series], name: str, option: str, path: Path) -> list[Any]:
    if name not in columns:
        is_split = len(columns) > 1 or not any(mark in "".join(columns) for mark in ";\t")
        remedy = (
            f"name it by {option}, one of: {', '.join(columns)}"
            if is_split
            else "values must be parted by commas"
        )
        raise InputError(f"--from-csv={path}: has no column {name}; {remedy}")
    return columns[name].tolist()


def _number(value: Any, option: str, source: object) -> float | None:
    if _is_blank(value) or value in ("None", "none", "null"):
        return None
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{option}: {source} holds {value!r} there, which is no number")
    return float(value)


def _parsed(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _only(values: Sequence[Any] | None) -> str | None:
    known = [value for value in values or () if isinstance(value, str)]
    return known[0] if known else None
