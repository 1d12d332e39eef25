"""Reads a sweep from an Optuna study: `run_from_optuna`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import InputError, one_line
from analysis.runs.foreign import STATES, Names, foreign_run, number
from analysis.runs.run import Run
from analysis.settings import SETTINGS
from patchtrain.record import TrialStatus

_VIOLATED = "violates the study's constraints"


@dataclass(frozen=True, kw_only=True)
class _Values:
    """What a study recorded of its finished trials."""

    study_name: str
    trials: Sequence[Any]
    objectives: Mapping[str, int]
    """Metric name or index of an objective -> its place."""
    attributes: Sequence[str]
    """Names of the user attributes."""
    is_down: Mapping[str, bool]
    """Objective -> whether it is minimised."""

    def full_name(self, given: str | None) -> str | None:
        """Return the name of the objective whose index was given, else what was given."""
        indices = [str(index) for index in range(len(self.objectives))]
        if given not in indices or given in self.objectives or given in self.attributes:
            return given
        return list(self.objectives)[indices.index(given)]

    def value_of(self, trial: Any, name: str) -> Any:
        """Return the value of an objective or a user attribute; None where it is unknown."""
        if name in self.objectives:
            return trial.values[self.objectives[name]] if trial.values else None
        return trial.user_attrs.get(name)

    def checked(self, option: str, name: str | None) -> str:
        """Return `name`, which must be an objective or a user attribute.

        Raises:
            InputError: it is not.
        """
        if name is not None and (name in self.objectives or name in self.attributes):
            return name
        known = ", ".join([*self.objectives, *self.attributes]) or "none"
        given = f"={name!r} is not known" if name else " is not given and cannot be guessed"
        raise InputError(
            f"{option}{given} in study {self.study_name!r}; name an objective or a user "
            f"attribute, one of: {known}"
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
    found = _values_of(_study(url, study_name))
    metric, peak = _metric_and_peak(found, names)
    parameters = {
        name: [trial.params.get(name) for trial in found.trials]
        for name in dict.fromkeys(name for trial in found.trials for name in trial.params)
    }
    ours = {name: values for name, values in parameters.items() if name in SETTINGS}
    return foreign_run(
        found.study_name,
        metric_name=f"objective {metric}" if metric.isdecimal() else metric,
        metric=[number(found.value_of(trial, metric), "--metric", url) for trial in found.trials],
        peak=[number(found.value_of(trial, peak), "--peak", url) for trial in found.trials],
        columns=ours | _columns(found.trials),
        settings={name: values for name, values in parameters.items() if name not in SETTINGS},
        names=Names(
            metric=metric,
            peak=peak,
            peak_unit=names.peak_unit,
            is_lower_better=names.is_lower_better or found.is_down.get(metric, False),
        ),
        source=url,
    )


def _values_of(study: Any) -> _Values:
    indices = [str(index) for index in range(len(study.directions))]
    objectives = {name: index for index, name in enumerate(study.metric_names or indices)}
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return _Values(
        study_name=study.study_name,
        trials=finished,
        objectives=objectives,
        attributes=sorted({name for trial in finished for name in trial.user_attrs}),
        is_down={n: study.directions[i].name == "MINIMIZE" for n, i in objectives.items()},
    )


def _metric_and_peak(found: _Values, names: Names) -> tuple[str, str]:
    """Return the names of metric and peak: as given, else told from the study."""
    up = [name for name, is_down in found.is_down.items() if not is_down]
    metric = found.full_name(names.metric) or next(iter([*up, *found.objectives]))
    down = [name for name, is_down in found.is_down.items() if is_down and name != metric]
    usual = [name for name in ("peak_allocated_bytes",) if name in found.attributes]
    peak = found.full_name(names.peak) or next(iter([*usual, *down]), None)
    return found.checked("--metric", metric), found.checked("--peak", peak)


def _columns(trials: Sequence[Any]) -> dict[str, list[Any]]:
    return {
        "trial_id": [str(trial.number) for trial in trials],
        "status": [_state(trial) for trial in trials],
        "error": [_VIOLATED if _is_violated(trial) else None for trial in trials],
        "started_at": [trial.datetime_start for trial in trials],
        "finished_at": [trial.datetime_complete for trial in trials],
    }


def _study(url: str, study_name: str | None) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_file = "://" not in url
    if is_file and not Path(url).is_file():
        raise InputError(
            f"--from-optuna={url}: is neither a storage URL such as sqlite:///study.db nor the "
            "path of a journal file that exists"
        )
    if not is_file and not _sqlite_exists(url):
        raise InputError(f"--from-optuna={url}: there is no such file")
    try:
        storage = _journal(url) if is_file else url
        found = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=_chosen(study_name, found, url), storage=storage)
    except InputError:
        raise
    except Exception as error:  # every database has errors of its own
        raise InputError(f"--from-optuna={url}: cannot be read ({one_line(error)})") from None


def _journal(path: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(path))


def _chosen(study_name: str | None, found: Sequence[str], url: str) -> str:
    if not found:
        raise InputError(
            f"--from-optuna={url}: holds no study; give the storage that the search wrote to"
        )
    if study_name is None and len(found) == 1:
        return found[0]
    if study_name is None or study_name not in found:
        raise InputError(
            f"--study={study_name or ''}: {url} holds {', '.join(found)}; name one of them"
        )
    return study_name


def _is_violated(trial: Any) -> bool:
    return any(value > 0 for value in trial.system_attrs.get("constraints") or ())


def _state(trial: Any) -> str:
    return (TrialStatus.FAILED if _is_violated(trial) else STATES[trial.state.name]).value


def _sqlite_exists(url: str) -> bool:
    """Return whether the file of an SQLite URL is there; SQLite would create it."""
    if not url.startswith("sqlite"):
        return True
    path = url.partition(":///")[2].partition("?")[0]
    return path in ("", ":memory:") or Path(path).is_file()
