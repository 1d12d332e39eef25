"""Samplers of the search: the built-in ones by name, and the user's own as `package.module:Name`.

A sampler is made by a callable `Name(seed, num_trials)`, a class or a function, that returns an
`optuna.samplers.BaseSampler`. The search calls it once for each budget. Knows nothing of trainers
and records.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from patchtrain.errors import ConfigError, one_line
from patchtrain.extension import FORM, is_named, load_named
from sweeps.search.verdict import CONSTRAINT, DIRECTIONS

Distributions = Mapping[str, BaseDistribution]

SamplerMaker = Callable[[int, int], BaseSampler]
"""Makes a sampler from its seed and the approximate number of trials that it will propose."""

DEFAULT_SAMPLER = "tpe"

GRID = "grid"
"""The sampler that draws nothing: the search lists the points of the grid itself."""

GRID_STEPS = 4
"""Values of a range that `grid` tries."""

_FIELD = "--sampler"
_MAX_POPULATION = 50
"""Optuna's own default for NSGA-II."""

_MAX_REASON = 160
"""Characters of the error of a user's sampler that are repeated in ours."""


def check_sampler(name: str, seed: int, num_trials: int, distributions: Distributions) -> None:
    """Check that the sampler `name` exists; try out one of the user's own.

    That makes it and asks it for a trial of a small study like those of a sweep: a sampler for
    a single objective should not fail hours later, after the random trials that start a search.

    Args:
        distributions: of the sweep's space.

    Raises:
        ConfigError: `name` is unknown, or the user's own breaks the contract.
    """
    sampler = make_sampler(name, seed, num_trials)
    if name in _MAKERS:
        return
    study = _small_study(distributions, seed)
    study.sampler = sampler
    try:
        study.ask(dict(distributions))
    except Exception as error:
        raise ConfigError(
            f"{_FIELD}={name!r}: its sampler proposes nothing for a study of two objectives, "
            f"metric and peak ({one_line(error, _MAX_REASON)}); give a sampler that supports "
            "several"
        ) from error


def make_sampler(name: str, seed: int, num_trials: int) -> BaseSampler:
    """Return the sampler `name` for a study of about `num_trials` trials.

    No built-in one starts with random trials of its own, except for the first generation of
    `nsga2`: the search does that, and counts only trials that were launched.

    Raises:
        ConfigError: `name` is unknown, or the user's own breaks the contract.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name in _MAKERS:
            return _MAKERS[name](seed, num_trials)
        return _own_sampler(name, seed, num_trials)


def _own_sampler(name: str, seed: int, num_trials: int) -> BaseSampler:
    """Return the sampler that the user's `package.module:Name` makes."""
    if not is_named(name):
        raise ConfigError(
            f"{_FIELD} {name}: unknown; use one of {', '.join(SAMPLERS)}, or your own as {FORM}"
        )
    maker = load_named(name, _FIELD)
    if not callable(maker):
        raise ConfigError(
            f"{_FIELD}={name!r}: is {_kind(maker)}, which cannot be called; name a class or "
            "function that takes seed and num_trials"
        )
    sampler = _called(maker, name, seed=seed, num_trials=max(1, num_trials))
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(
            f"{_FIELD}={name!r}: returned {_kind(sampler)}; it must return an instance of "
            "optuna.samplers.BaseSampler"
        )
    return sampler


def _called(maker: Callable[..., Any], name: str, **arguments: int) -> Any:
    try:
        return maker(**arguments)
    except Exception as error:
        listed = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise ConfigError(
            f"{_FIELD}={name!r}: calling it with {listed} failed "
            f"({one_line(error, _MAX_REASON)}); it must take these two and return an Optuna sampler"
        ) from error


def create_study(**settings: Any) -> Study:
    """Return a study of two objectives, metric and peak, made without a word on stderr."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=DIRECTIONS, **settings)


def _small_study(distributions: Distributions, seed: int) -> Study:
    """Return a study with trials that completed and trials that did not fit."""
    study = create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    draws = [study.ask(dict(distributions)).params for _ in range(6)]
    for number, params in enumerate(draws):
        fits = number < 4
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if fits else TrialState.PRUNED,
                values=(float(number), 1.0 + number) if fits else None,
                params=params,
                distributions=dict(distributions),
                constraints={CONSTRAINT: -1.0 if fits else 1.0},
            )
        )
    return study


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"


def _tpe(seed: int, num_trials: int) -> BaseSampler:
    return optuna.samplers.TPESampler(
        n_startup_trials=1,
        multivariate=True,  # whether a trial fits depends on all parameters jointly
        constant_liar=True,  # trials run side by side
        seed=seed,
    )


def _nsga2(seed: int, num_trials: int) -> BaseSampler:
    # a generation must end well before the sweep does
    population = max(4, min(_MAX_POPULATION, num_trials // 4))
    return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)


def _gp(seed: int, num_trials: int) -> BaseSampler:
    return _Gp(n_startup_trials=1, seed=seed)


def _random(seed: int, num_trials: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


_MAKERS: Mapping[str, SamplerMaker] = {
    DEFAULT_SAMPLER: _tpe,
    "nsga2": _nsga2,
    "gp": _gp,
    "random": _random,
    GRID: _random,
}

SAMPLERS = tuple(_MAKERS)
"""Built-in names of `--sampler`."""


class _Gp(optuna.samplers.GPSampler):
    """Optuna's GP sampler, which is also shown the trials that did not fit.

    By itself it reads completed trials only, and would keep proposing what cannot fit. So trials
    that did not fit are shown to it as completed, with their constraint value.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        completed = [t for t in trials if t.state is TrialState.COMPLETE]
        running = [t for t in trials if t.state is TrialState.RUNNING and t.params]
        shown = optuna.create_study(directions=study.directions)
        shown.add_trials(completed + running)
        if completed:
            shown.add_trials(_as_completed(trials, completed))
        shown.ask()
        return super().sample_relative(shown, shown.get_trials(deepcopy=False)[-1], search_space)


def _as_completed(trials: list[FrozenTrial], completed: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that did not fit as completed ones."""
    metrics, peaks = zip(*(t.values for t in completed), strict=True)
    # the metric is unknown, so they get one that teaches nothing
    metric = sum(metrics) / len(metrics)
    return [
        create_trial(
            values=(metric, max(peaks) + violation),
            params=t.params,
            distributions=t.distributions,
            constraints=t.constraints,
        )
        for t in trials
        if t.state is TrialState.PRUNED
        and (violation := max(t.constraints.values(), default=0.0)) > 0
    ]
