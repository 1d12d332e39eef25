"""Reads other people's sweeps: an Optuna study or a CSV file, as a `Run` without a folder.

Their settings keep their own names. Knows nothing of drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.errors import InputError
from analysis.load import RUN, Run, SweepInfo, conformed, no_epochs, run_of
from patchtrain.record import METRIC_PREFIX, TrialRecord, TrialStatus, schema_of
from patchtrain.units import parse_bytes

KNOWN = frozenset(schema_of(TrialRecord).names)
TEXTS = tuple(f.name for f in schema_of(TrialRecord) if f.type == pa.string())
NOT_SETTINGS = frozenset({"on_front", RUN})


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

    Columns named as in trials.parquet are taken as they are, all others for settings. A row without
    a `status` is completed if it has a metric, else failed.

    Raises:
        InputError: it cannot be read, or has no column for the metric or the peak.
    """
    try:
        # names of trials may look like numbers
        frame = pd.read_csv(path, dtype_backend="pyarrow", dtype=dict.fromkeys(TEXTS, "str"))
    except OSError as error:
        raise InputError(f"--from-csv={path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, pa.ArrowException) as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"--from-csv={path}: is no table of comma-separated values ({line})"
        ) from None
    columns = {str(name): frame[name] for name in frame.columns}
    metric = _column(columns, names.metric or "metric", "--metric", path)
    peak = _column(columns, names.peak or "peak_allocated_bytes", "--peak", path)
    taken = {names.metric, names.peak}
    rest = {name: column for name, column in columns.items() if name not in taken}
    known = {name: column.tolist() for name, column in rest.items() if name in KNOWN}
    own_metrics = {
        name: column.tolist()
        for name, column in rest.items()
        if name.startswith(METRIC_PREFIX) and name not in KNOWN
    }
    settings = {
        name: column.tolist()
        for name, column in rest.items()
        if name not in KNOWN and name not in own_metrics and name not in NOT_SETTINGS
    }
    return _run(
        path.stem,
        metric_name=names.metric or _only(known.get("metric_name")) or "metric",
        metric=[_number(value, "--metric", path) for value in metric],
        peak=[_number(value, "--peak", path) for value in peak],
        columns=known | own_metrics,
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
    objectives = {
        (study.metric_names or [str(i) for i in range(len(study.directions))])[i]: i
        for i in range(len(study.directions))
    }
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    attributes = sorted({name for trial in finished for name in trial.user_attrs})
    is_down = {name: study.directions[i].name == "MINIMIZE" for name, i in objectives.items()}
    metric = names.metric or next((n for n in objectives if not is_down[n]), next(iter(objectives)))
    peak = names.peak or (
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

    states = {
        "COMPLETE": TrialStatus.COMPLETED,
        "PRUNED": TrialStatus.STOPPED_EARLY,
        "FAIL": TrialStatus.FAILED,
    }
    settings = {
        name: [trial.params.get(name) for trial in finished]
        for name in dict.fromkeys(name for trial in finished for name in trial.params)
    }
    lower = names.is_lower_better or is_down.get(str(metric), False)
    return _run(
        study.study_name,
        metric_name=f"objective {metric}" if metric.isdecimal() else metric,
        metric=[_number(value_of(trial, metric), "--metric", url) for trial in finished],
        peak=[_number(value_of(trial, str(peak)), "--peak", url) for trial in finished],
        columns={
            "trial_id": [str(trial.number) for trial in finished],
            "status": [states[trial.state.name].value for trial in finished],
            "started_at": [trial.datetime_start for trial in finished],
            "finished_at": [trial.datetime_complete for trial in finished],
        },
        settings=settings,
        names=Names(metric=metric, peak=peak, peak_unit=names.peak_unit, is_lower_better=lower),
        source=url,
    )


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
        storage = JournalStorage(JournalFileBackend(url))
    try:
        found = optuna.get_all_study_names(storage)
        if study_name is None and len(found) == 1:
            study_name = found[0]
        if study_name not in found:
            raise InputError(
                f"--study={study_name or ''}: {url} holds {', '.join(found) or 'no study'}; "
                "name one of them"
            )
        return optuna.load_study(study_name=study_name, storage=storage)
    except InputError:
        raise
    except Exception as error:  # every database has errors of its own
        line = " ".join(str(error).split())
        raise InputError(f"--from-optuna={url}: cannot be read ({line[:200]})") from None


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
    count = len(metric)
    default_status = [
        (TrialStatus.FAILED if value is None else TrialStatus.COMPLETED).value for value in metric
    ]
    content: dict[str, Sequence[Any]] = {
        "trial_id": [str(index) for index in range(count)],
        "status": default_status,
        **columns,
        **{n: values for n, values in settings.items() if n in KNOWN},
        "metric_name": [metric_name] * count,
        "metric": metric,
        "peak_allocated_bytes": [None if p is None else round(p * unit) for p in peak],
    }
    content["trial_id"] = [str(value) for value in content["trial_id"]]
    own = {n: values for n, values in settings.items() if n not in KNOWN}
    table = pa.table({n: _array(values) for n, values in (content | own).items()})
    return run_of(
        name,
        trials=conformed(table, source, TrialRecord),
        epochs=no_epochs(),
        sweep=SweepInfo(name=name, varied=tuple(settings)),
        notices=notices,
    )


def _array(values: Sequence[Any]) -> pa.Array:
    plain = [
        None if value is None or value is pd.NA or value != value else value for value in values
    ]
    try:
        return pa.array(plain)
    except pa.ArrowException:  # of several kinds
        return pa.array([None if value is None else str(value) for value in plain])


def _column(columns: Mapping[str, pd.Series], name: str, option: str, path: Path) -> list[Any]:
    if name not in columns:
        raise InputError(
            f"--from-csv={path}: has no column {name}; name it by {option}, one of: "
            f"{', '.join(columns)}"
        )
    return columns[name].tolist()


def _number(value: Any, option: str, source: object) -> float | None:
    if value is None or value is pd.NA or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{option}: {source} holds {value!r} there, which is no number")
    return float(value)


def _only(values: Sequence[Any] | None) -> str | None:
    known = [value for value in values or () if isinstance(value, str)]
    return known[0] if known else None
