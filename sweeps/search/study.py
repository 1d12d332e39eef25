"""`BudgetStudy`: the trials under one budget, as an Optuna study. Knows nothing of predictions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from patchtrain.record import TrialRecord
from sweeps.search.samplers import create_study, make_sampler
from sweeps.search.space import Space
from sweeps.search.verdict import CONSTRAINT, Verdict, verdict

TRIAL_ID = "trial_id"
"""User attribute of an Optuna trial: the trial of the sweep that it stands for."""

COPIED = "copied"
"""User attribute: this result was measured under another budget and holds for this one too."""

_NUM_STARTUP = 4
"""Completed trials of a budget before its sampler takes over; until then proposals are random."""


class BudgetStudy:
    """The trials under one budget: asks the sampler for new ones, remembers what was tried.

    Args:
        space: what to draw from.
        budget_bytes: the budget.
        name: of the study.
        storage: where the study is kept; one that is there already is continued.
        sampler: see `samplers.make_sampler`.
        num_trials: about how many trials the budget will have.
        seeds: numbers that the seeds of the samplers are made from.
    """

    def __init__(
        self,
        space: Space,
        budget_bytes: int,
        *,
        name: str,
        storage: BaseStorage,
        sampler: str,
        num_trials: int,
        seeds: tuple[int, ...],
    ) -> None:
        self.budget_bytes = budget_bytes
        self.known: set[str] = set()
        """Ids of the sweep's trials that the study has."""
        self._space = space
        self._study = _open(name, storage)
        # samplers made anew would roll the same dice again, so their seeds depend on what is there
        seed = seed_of(*seeds, len(self._study.get_trials(deepcopy=False)))
        self._sampler = make_sampler(sampler, seed, num_trials)
        # given the same seed, this would repeat the draws of the sampler
        self._random: BaseSampler = RandomSampler(seed=seed_of(seed, 1))
        self._tried: set[tuple] = set()
        self._num_learned = 0

    def ask(self) -> optuna.Trial:
        """Return the next trial of the sampler."""
        is_starting = self._num_learned < _NUM_STARTUP
        self._study.sampler = self._random if is_starting else self._sampler
        return self._study.ask(self._space.distributions)

    def ask_for(self, params: Mapping[str, Any]) -> optuna.Trial:
        """Return a trial with these parameters."""
        self._study.enqueue_trial(dict(params))
        return self._study.ask(self._space.distributions)

    def note_tried(self, params: Mapping[str, Any]) -> None:
        """Remember that these parameters need not be tried again."""
        self._tried.add(self._space.identity(params))

    def is_tried(self, params: Mapping[str, Any]) -> bool:
        """Whether these parameters, or others that train the same, were tried."""
        return self._space.identity(params) in self._tried

    def discard(self, trial: optuna.Trial | int) -> None:
        """Close a trial, or the one of that number, in a way that samplers ignore."""
        self._study.tell(trial, state=TrialState.FAIL)

    def tell(self, trial: optuna.Trial, said: Verdict) -> None:
        """Close a trial with its result."""
        # the constraint may be set already, by a process that was killed right after
        if said.violation_bytes is not None and CONSTRAINT not in trial.constraints:
            trial.set_constraint(CONSTRAINT, said.violation_bytes)
        self._study.tell(trial, said.values, state=said.state)
        self._num_learned += said.state is TrialState.COMPLETE

    def copy(self, record: TrialRecord) -> None:
        """Add a trial that ran elsewhere, unless it is known or says nothing about this budget."""
        said = verdict(record, self.budget_bytes)
        if said is None or record.trial_id in self.known:
            return
        params = self._space.params(record)
        violation = said.violation_bytes
        self._study.add_trial(
            optuna.trial.create_trial(
                state=said.state,
                values=said.values,
                params=params,
                distributions=self._space.distributions,
                user_attrs={TRIAL_ID: record.trial_id, COPIED: True},
                constraints=None if violation is None else {CONSTRAINT: float(violation)},
            )
        )
        self.known.add(record.trial_id)
        self.note_tried(params)
        self._num_learned += said.state is TrialState.COMPLETE

    def take_up(self) -> dict[str, optuna.Trial]:
        """Take up what an earlier process left; return the trials that seem to run, by id."""
        running = {}
        for frozen in self._study.get_trials(deepcopy=False):
            trial_id = self._take_up(frozen)
            if trial_id is not None and frozen.state is TrialState.RUNNING:
                running[trial_id] = optuna.Trial(self._study, frozen._trial_id)
        return running

    def _take_up(self, frozen: FrozenTrial) -> str | None:
        """Note a trial of the study; return its id in the sweep, if it came to have one."""
        if frozen.state is TrialState.WAITING:  # cut off in `ask_for`
            self.discard(self._study.ask())
            return None
        trial_id = frozen.user_attrs.get(TRIAL_ID)
        if trial_id is None:
            if frozen.state is TrialState.RUNNING:  # cut off before it got an id
                self.discard(frozen.number)
            return None
        self.known.add(trial_id)
        self.note_tried(frozen.params)
        self._num_learned += frozen.state is TrialState.COMPLETE
        return trial_id


def seed_of(*numbers: int) -> int:
    """Return a seed made from `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _open(name: str, storage: BaseStorage) -> optuna.Study:
    """Return the study `name`, created if it does not exist."""
    study = create_study(storage=storage, study_name=name, load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["metric", "peak_bytes"])
    return study
