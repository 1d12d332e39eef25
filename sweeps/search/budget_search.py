"""`BudgetSearch`: which configuration to try next, under which budget.

What a trial will need is predicted before it is launched. A configuration that cannot fit is
recorded, told to the study as such, and replaced at once: no trial is spent on it.
Knows nothing of trainers, result files or placement; `BudgetSearch` is also a Tune `Searcher`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.search.prediction import Predict, Prediction
from sweeps.search.samplers import DEFAULT_SAMPLER, GRID, GRID_STEPS
from sweeps.search.searcher import StatelessSearcher
from sweeps.search.space import Space
from sweeps.search.study import TRIAL_ID, BudgetStudy, seed_of
from sweeps.search.verdict import verdict

_MAX_REPEATS = 3
"""Proposals of a configuration already tried before a new one is taken instead."""

_MAX_REFUSALS = 32
"""Proposals that do not fit before the search looks for one without the sampler."""

_MAX_DRAWS = 100
"""Random draws in search of a configuration that is new and fits."""


@dataclass(frozen=True)
class Suggestion:
    """A trial to run."""

    trial_id: str
    budget_bytes: int
    params: Mapping[str, Any]


Refuse = Callable[[Suggestion, Prediction | ConfigError], TrialRecord]
"""Records a configuration that is not launched, because it would need too much memory or its
networks cannot be trained, and returns the record."""


class _Open(NamedTuple):
    """A trial that was proposed and has not ended."""

    trial: optuna.Trial
    identity: tuple
    """What it trains, see `Space.identity`."""


class BudgetSearch(StatelessSearcher):
    """Proposes trials, for each budget in turn, and learns from their records.

    Everything it knows is in the storage and in the records: a new one over both continues where
    the last one was cut off. `suggest` serves Tune; `tell` takes the record of a trial once its
    row is written.

    Args:
        space: what to draw from.
        budgets_bytes: budgets, served in turn; one that was added later catches up first.
        num_trials: how many trials the whole sweep launches, finished ones included.
        sweep: prefix of the names of the studies.
        storage: where the studies are, see `journal.open_storage`.
        finished: records of the trials that ended already, or were refused.
        seed: seed of the samplers.
        checkpoints: trial id -> folder that a trial which was cut off continues from.
        sampler: a name that `samplers.make_sampler` accepts.
        predict: predicts what a configuration will need. None: everything is launched.
        refuse: called with each configuration that cannot fit; goes with `predict`.
        again: records of trials that ended and are to run again.
        first: draws to try before those of the sampler, under every budget.
        known: records of other sweeps to learn from; their configurations are not run again.
    """

    def __init__(
        self,
        space: Space,
        budgets_bytes: Sequence[int],
        *,
        num_trials: int,
        sweep: str,
        storage: BaseStorage,
        finished: Iterable[TrialRecord] = (),
        seed: int = 0,
        checkpoints: Mapping[str, str] | None = None,
        sampler: str = DEFAULT_SAMPLER,
        predict: Predict | None = None,
        refuse: Refuse | None = None,
        again: Iterable[TrialRecord] = (),
        first: Sequence[Mapping[str, Any]] = (),
        known: Iterable[TrialRecord] = (),
    ) -> None:
        super().__init__()
        assert (predict is None) == (refuse is None)
        self._checkpoints = dict(checkpoints or {})
        self._space = space
        self._sweep = sweep
        self._budgets_bytes = tuple(budgets_bytes)
        self._predict = predict
        self._refuse = refuse
        self._studies = {
            budget: BudgetStudy(
                space,
                budget,
                name=f"{sweep}-{budget}",
                storage=storage,
                sampler=sampler,
                num_trials=num_trials // len(budgets_bytes),
                seeds=(seed, index),
            )
            for index, budget in enumerate(budgets_bytes)
        }
        self._dice = optuna.create_study(sampler=RandomSampler(seed=seed_of(seed, 2)))
        self._used_up: set[int] = set()
        self._open: dict[str, _Open] = {}
        own = [record for record in finished if not record.is_replicate]
        self._cut_off = self._take_up(own, [r for r in again if not r.is_replicate])
        for record in known:
            self._copy(record)
        launched = [r for r in own if r.status is not TrialStatus.PREDICTED_INFEASIBLE]
        self._num_launched = Counter(record.budget_bytes for record in launched)
        self._num_launched.update(suggestion.budget_bytes for suggestion in self._cut_off)
        self._num_left = max(0, num_trials - self._num_launched.total())
        self._is_grid = sampler == GRID
        listed = [*first, *(self._shuffled_grid(seed) if self._is_grid else ())]
        self._listed = {budget: deque(listed) for budget in budgets_bytes}

    @property
    def cut_off(self) -> tuple[Suggestion, ...]:
        """Trials that an earlier process began and that are run first."""
        return tuple(self._cut_off)

    @property
    def num_to_run(self) -> int:  # type: ignore[override]
        """Trials still to be proposed, at most."""
        return len(self._cut_off) + self._num_left

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to propose and every proposed trial has ended."""
        is_over = not self._num_left or len(self._used_up) == len(self._budgets_bytes)
        return is_over and not self._cut_off and not self._open

    @property
    def used_up(self) -> tuple[int, ...]:
        """Budgets in bytes under which every configuration that fits has been tried."""
        return tuple(sorted(self._used_up))

    def ask(self) -> Suggestion | None:
        """Return the next trial to run; None when the sweep has all its trials, or no configuration
        is left under any budget.
        """
        if self._cut_off:
            return self._cut_off.popleft()
        while self._num_left and len(self._used_up) < len(self._budgets_bytes):
            budget = self._next_budget()
            trial = self._propose(budget)
            if trial is None:
                self._used_up.add(budget)
                continue
            suggestion = self._suggestion(trial, budget)
            self._open_trial(trial, suggestion.trial_id)
            self._num_launched[budget] += 1
            self._num_left -= 1
            return suggestion
        return None

    def suggest(self, trial_id: str) -> dict[str, Any] | Any:
        """Return the next trial as `BudgetTrainable` takes it, or FINISHED; Tune's id is unused."""
        suggestion = self.ask()
        if suggestion is None:
            return self.FINISHED
        return {
            TRIAL_ID: suggestion.trial_id,
            "sweep": self._sweep,
            "group": suggestion.trial_id,
            "config": self._space.config(suggestion.params, suggestion.budget_bytes),
            "checkpoint": self._checkpoints.get(suggestion.trial_id),
        }

    def tell(self, record: TrialRecord) -> None:
        """Learn from a finished trial, for every budget that it says something about."""
        if record.is_replicate:
            return
        opened = self._open.pop(record.trial_id, None)
        if opened is not None and record.budget_bytes is not None:
            said = verdict(record, record.budget_bytes)
            assert said is not None
            self._studies[record.budget_bytes].tell(opened.trial, said)
        self._copy(record)

    def put_off(self, record: TrialRecord) -> None:
        """Leave a trial open in its study that failed for a reason outside it: whoever takes up the
        studies runs it again.
        """
        self._open.pop(record.trial_id, None)

    def _copy(self, record: TrialRecord) -> None:
        for study in self._studies.values():
            study.copy(record)

    def _next_budget(self) -> int:
        """Return the budget with the fewest trials so far, of those that are not used up."""
        usable = (budget for budget in self._budgets_bytes if budget not in self._used_up)
        return min(usable, key=lambda budget: self._num_launched[budget])

    def _propose(self, budget: int) -> optuna.Trial | None:
        """Return a trial that is new under `budget` and fits it; None if there is no more.

        Listed configurations come first; a grid has no others. Then the sampler is asked. If it
        keeps proposing what was tried or what cannot fit, the search looks for itself.
        """
        trial = self._next_listed(budget)
        if trial is not None or self._is_grid:
            return trial
        return self._next_sampled(budget) or self._next_found(budget)

    def _next_listed(self, budget: int) -> optuna.Trial | None:
        listed = self._listed[budget]
        for _ in range(len(listed)):
            params = listed.popleft()
            if self._is_new(params, budget):
                trial = self._studies[budget].ask_for(params)
                if self._take(trial, budget):
                    return trial
            elif self._is_in_flight(params):  # it may fail, which would say nothing
                listed.append(params)
        return None

    def _next_sampled(self, budget: int) -> optuna.Trial | None:
        study = self._studies[budget]
        num_repeats = num_refusals = 0
        while num_repeats < _MAX_REPEATS and num_refusals < _MAX_REFUSALS:
            trial = study.ask()
            if not self._is_new(trial.params, budget):
                study.discard(trial)
                num_repeats += 1
            elif self._take(trial, budget):
                return trial
            else:
                num_refusals += 1
        return None

    def _next_found(self, budget: int) -> optuna.Trial | None:
        for params in self._new_params(budget):
            trial = self._studies[budget].ask_for(params)
            if self._take(trial, budget):
                return trial
        return None

    def _new_params(self, budget: int) -> Iterator[Mapping[str, Any]]:
        """Yield new configurations: random ones, then all of them, except those that sample more
        patches than one that was just refused.
        """
        for _ in range(_MAX_DRAWS):
            params = self._dice.ask(self._space.distributions).params
            if self._is_new(params, budget):
                yield params
        refused = None
        for params in self._space.points():
            rest = {name: value for name, value in params.items() if name != "sampling_rate"}
            if rest == refused:
                continue
            if self._is_new(params, budget):
                yield params
            if self._is_over(params, budget):
                refused = rest

    def _is_new(self, params: Mapping[str, Any], budget: int) -> bool:
        """Whether no trial of `budget` trained `params`, and no running trial of any budget is
        about to show how good they are.
        """
        return not self._studies[budget].is_tried(params) and not self._is_in_flight(params)

    def _is_in_flight(self, params: Mapping[str, Any]) -> bool:
        identity = self._space.identity(params)
        return any(opened.identity == identity for opened in self._open.values())

    def _take(self, trial: optuna.Trial, budget: int) -> bool:
        """Return whether `trial` fits; one that does not is recorded and told to its study."""
        self._studies[budget].note_tried(trial.params)
        prediction = self._prediction(trial.params, budget)
        if prediction is None or (
            not isinstance(prediction, Exception) and prediction.fits(budget)
        ):
            return True
        assert self._refuse is not None
        suggestion = self._suggestion(trial, budget)
        record = self._refuse(suggestion, prediction)
        # the row is written: from here on a crash loses nothing
        self._open_trial(trial, suggestion.trial_id)
        self.tell(record)
        return False

    def _is_over(self, params: Mapping[str, Any], budget: int) -> bool:
        prediction = self._prediction(params, budget)
        if prediction is None or isinstance(prediction, ConfigError):
            return False
        return not prediction.fits(budget)

    def _prediction(
        self, params: Mapping[str, Any], budget: int
    ) -> Prediction | ConfigError | None:
        """Return what a configuration will need, or why it cannot be trained; None if the search
        does not predict.
        """
        if self._predict is None:
            return None
        try:
            return self._predict(self._space.config(params, budget))
        except ConfigError as error:
            return error

    def _suggestion(self, trial: optuna.Trial, budget: int) -> Suggestion:
        """Return `trial` with the next number of the sweep."""
        trial_id = f"{self._next_number:05d}"
        self._next_number += 1
        self._studies[budget].known.add(trial_id)
        return Suggestion(trial_id, budget, trial.params)

    def _open_trial(self, trial: optuna.Trial, trial_id: str) -> None:
        trial.set_user_attr(TRIAL_ID, trial_id)
        self._open[trial_id] = _Open(trial, self._space.identity(trial.params))

    def _take_up(
        self, records: Sequence[TrialRecord], again: Sequence[TrialRecord]
    ) -> deque[Suggestion]:
        """Bring the studies in line with `records`; return the trials that were cut off, and those
        to run `again`.
        """
        cut_off = []
        ended = {record.trial_id for record in records}
        for budget, study in self._studies.items():
            for trial_id, trial in study.take_up().items():
                self._open[trial_id] = _Open(trial, self._space.identity(trial.params))
                if trial_id not in ended:
                    cut_off.append(Suggestion(trial_id, budget, trial.params))
        for record in again:
            if record.trial_id not in self._open and record.budget_bytes in self._studies:
                trial = self._studies[record.budget_bytes].ask_for(self._space.params(record))
                self._open_trial(trial, record.trial_id)
                cut_off.append(Suggestion(record.trial_id, record.budget_bytes, dict(trial.params)))
        for record in sorted(records, key=lambda record: record.trial_id):
            self.tell(record)
        ids = ended.union(*(study.known for study in self._studies.values()))
        numbers = [int(trial_id) for trial_id in ids if trial_id.isdecimal()]
        self._next_number = max(numbers, default=-1) + 1
        return deque(sorted(cut_off, key=lambda suggestion: suggestion.trial_id))

    def _shuffled_grid(self, seed: int) -> list[dict[str, Any]]:
        """Return the points of the grid in an order whose every start is spread over the grid."""
        points = list(self._space.points(GRID_STEPS))
        np.random.default_rng(seed).shuffle(points)
        return points
