"""A sampler: changes one parameter of a good trial, or draws at random."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.samplers import RandomSampler


class Mutate(RandomSampler):
    """Takes one of the three best trials and draws one of its parameters anew."""

    def __init__(self, seed, num_trials):
        super().__init__(seed=seed)
        self._random = np.random.default_rng(seed)

    def infer_relative_search_space(self, study, trial):
        """Return the parameters that are drawn together: all."""
        space = optuna.search_space.intersection_search_space(study.get_trials(deepcopy=False))
        return {name: each for name, each in space.items() if not each.single()}

    def sample_relative(self, study, trial, search_space):
        """Return the parameters of a good trial but for one, which is drawn at random."""
        done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
        if not done or not search_space:
            return {}
        best = sorted(done, key=lambda each: each.values[0])[-3:]
        kept = dict(self._random.choice(best).params)
        del kept[self._random.choice(sorted(search_space))]
        return {name: kept[name] for name in search_space if name in kept}
