"""Samplers of the search by name. Knows nothing of trials and memory."""

from __future__ import annotations

import warnings

import optuna
from optuna.samplers import BaseSampler

SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
"""Names of `--sampler`."""

GRID_STEPS = 4
"""Values of a range that `grid` tries."""

_MAX_POPULATION = 50
"""Optuna's own default for NSGA-II."""


def make_sampler(name: str, seed: int, num_trials: int) -> BaseSampler:
    """Return the sampler `name` of a study with about `num_trials` trials.

    None of them starts with random trials of its own: the search does, and counts only trials that
    were launched. `grid` draws nothing, the search lists its points itself.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(
                n_startup_trials=1,
                multivariate=True,  # what fits in memory is a joint property of the parameters
                constant_liar=True,  # trials run side by side
                seed=seed,
            )
        if name == "nsga2":
            # a generation must end well before the sweep does
            population = max(4, min(_MAX_POPULATION, num_trials // 4))
            return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
        if name == "gp":
            return optuna.samplers.GPSampler(n_startup_trials=1, seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)
