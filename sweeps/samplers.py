"""Samplers of the search by name. Knows nothing of trainers and records."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
"""Names of `--sampler`."""

GRID_STEPS = 4
"""Values of a range that `grid` tries."""

_MAX_POPULATION = 50
"""Optuna's own default for NSGA-II."""


def make_sampler(name: str, seed: int, num_trials: int) -> BaseSampler:
    """Return the sampler `name` of a study with about `num_trials` trials.

    None of them starts with random trials of its own, but for the first generation of `nsga2`: the
    search does, and counts only trials that were launched. `grid` draws nothing, the search lists
    its points itself.
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
            return _Gp(n_startup_trials=1, seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


class _Gp(optuna.samplers.GPSampler):
    """Optuna's GP sampler, which reads completed trials only and so would propose again and again
    what cannot fit: that is shown to it as completed, with its constraint.
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
            metrics, peaks = zip(*(t.values for t in completed), strict=True)
            for t in trials:
                violation = max(t.constraints.values(), default=0.0)
                if t.state is not TrialState.PRUNED or violation <= 0:
                    continue
                # its metric is not known, and nothing is to be read out of it
                values = (sum(metrics) / len(metrics), max(peaks) + violation)
                shown.add_trial(
                    optuna.trial.create_trial(
                        values=values,
                        params=t.params,
                        distributions=t.distributions,
                        constraints=t.constraints,
                    )
                )
        shown.ask()
        return super().sample_relative(shown, shown.get_trials(deepcopy=False)[-1], search_space)
