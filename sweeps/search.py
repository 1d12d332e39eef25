"""Which configuration to try next under which budget: one Optuna study a budget, told of memory.

What a trial will hold is predicted before it is launched. A configuration that cannot fit is told
to the study as such, recorded, and replaced at once: no trial is spent on it.
Knows nothing of trainers, files of results or placement; `BudgetSearch` is also a Tune `Searcher`.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.prediction import Predict, Prediction
from sweeps.samplers import GRID_STEPS, make_sampler
from sweeps.searcher import StatelessSearcher
from sweeps.spaces import Space
from sweeps.verdict import Verdict, verdict

TRIAL_ID = "trial_id"
"""User attribute of an Optuna trial: the trial of the sweep that it stands for."""

COPIED = "copied"
"""User attribute: this result was measured under another budget and holds for this one too."""

CONSTRAINT = "memory_bytes"
"""The Optuna constraint: peak minus budget, in bytes; a trial fits when it is 0 or less."""

_NUM_STARTUP = 4
"""Completed trials of a budget before its sampler takes over; until then proposals are random."""

_MAX_REPEATS = 3
"""Proposals of a configuration already tried before a new one is taken instead."""

_MAX_REFUSALS = 32
"""Proposals that do not fit before one is looked for without the sampler."""

_MAX_DRAWS = 100
"""Random draws in search of a configuration that was not tried yet and fits."""


@dataclass(frozen=True)
class Suggestion:
    """A trial to run."""

    trial_id: str
    budget_bytes: int
    params: Mapping[str, Any]


Refuse = Callable[[Suggestion, Prediction | ConfigError], TrialRecord]
"""Records a configuration that is not launched, and returns its record: what it would hold is too
much, or its networks cannot be trained."""


class _Open(NamedTuple):
    """A trial that was proposed and has not ended."""

    trial: optuna.Trial
    identity: tuple
    """What it trains, see `Space.identity`."""


class BudgetSearch(StatelessSearcher):
    """Proposes trials, budgets in turn, and learns from their records.

    Everything it knows is in the storage and in the records: made anew over both, it goes on
    where the last one was cut off. `suggest` serves Tune; `tell` takes the record of a trial once
    its row is written.

    Args:
        space: what to draw from.
        budgets_bytes: budgets, served in turn.
        num_trials: how many trials the whole sweep launches, finished ones included.
        sweep: prefix of the names of the studies.
        storage: where the studies are, see `journal.open_storage`.
        finished: records of the trials that ended already, or were refused.
        seed: of the samplers.
        checkpoints: trial id -> folder that a trial which was cut off goes on from.
        sampler: one of `samplers.SAMPLERS`.
        predict: says what a configuration will hold. None: everything is launched.
        refuse: called with each configuration that cannot fit; comes with `predict`.
        first: draws to try before the sampler's, under every budget.
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
        sampler: str = "tpe",
        predict: Predict | None = None,
        refuse: Refuse | None = None,
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
        trials_per_budget = num_trials // len(budgets_bytes)
        self._studies = {budget: _study(f"{sweep}-{budget}", storage) for budget in budgets_bytes}
        # made anew, samplers would roll the same dice again: what is there goes into their seeds
        seeds = {
            budget: _seed(seed, index, len(study.get_trials(deepcopy=False)))
            for index, (budget, study) in enumerate(self._studies.items())
        }
        self._samplers: dict[int, BaseSampler] = {
            budget: make_sampler(sampler, seeds[budget], trials_per_budget)
            for budget in budgets_bytes
        }
        # with the same seed, a sampler's own dice would show the same again
        self._random: dict[int, BaseSampler] = {
            budget: RandomSampler(seed=_seed(seeds[budget], 1)) for budget in budgets_bytes
        }
        self._dice = optuna.create_study(sampler=RandomSampler(seed=_seed(seed, 2)))
        self._known: dict[int, set[str]] = {budget: set() for budget in budgets_bytes}
        self._tried: dict[int, set[tuple]] = {budget: set() for budget in budgets_bytes}
        self._num_learned = dict.fromkeys(budgets_bytes, 0)
        self._used_up: set[int] = set()
        self._open: dict[str, _Open] = {}
        self._cut_off: deque[Suggestion] = deque()
        self._next_number = 0
        records = sorted(finished, key=lambda record: record.trial_id)
        own = [record for record in records if not record.is_replicate]
        self._take_up(own)
        for record in known:
            self._spread(record)
        launched = [r for r in own if r.status is not TrialStatus.PREDICTED_INFEASIBLE]
        self._num_launched = len(launched) + len(self._cut_off)
        self._num_left = max(0, num_trials - self._num_launched)
        self._is_grid = sampler == "grid"
        listed = [*first, *(self._shuffled_grid(seed) if self._is_grid else ())]
        self._listed = {budget: deque(listed) for budget in budgets_bytes}

    @property
    def cut_off(self) -> tuple[Suggestion, ...]:
        """Trials that were begun by an earlier process and are to be run first."""
        return tuple(self._cut_off)

    @property
    def num_to_run(self) -> int:  # type: ignore[override]
        """Trials still to be proposed, at most."""
        return len(self._cut_off) + self._num_left

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to propose and every trial proposed has ended."""
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
            turn = self._num_launched + len(self._used_up)
            budget = self._budgets_bytes[turn % len(self._budgets_bytes)]
            if budget in self._used_up:
                budget = next(b for b in self._budgets_bytes if b not in self._used_up)
            trial = self._propose(budget)
            if trial is None:
                self._used_up.add(budget)
                continue
            suggestion = self._name(trial, budget)
            trial.set_user_attr(TRIAL_ID, suggestion.trial_id)
            self._num_launched += 1
            self._num_left -= 1
            self._open[suggestion.trial_id] = self._opened(trial)
            return suggestion
        return None

    def tell(self, record: TrialRecord) -> None:
        """Learn from a finished trial, for every budget that it says something about."""
        if record.is_replicate:
            return
        opened = self._open.pop(record.trial_id, None)
        if opened is not None and record.budget_bytes is not None:
            said = verdict(record, record.budget_bytes)
            assert said is not None
            self._tell(record.budget_bytes, opened.trial, said)
        self._spread(record)

    def _propose(self, budget: int) -> optuna.Trial | None:
        """Return a trial that was not tried under `budget` and fits it; None: there is none.

        What is listed comes first, and a grid is nothing else. Then the study is asked; where it
        insists on what was tried, or on what cannot fit, others are looked for.
        """
        listed = self._listed[budget]
        for _ in range(len(listed)):
            params = listed.popleft()
            if self._is_new(params, budget):
                trial = self._ask_for(params, budget)
                if self._take(trial, budget):
                    return trial
            elif self._is_in_flight(params):  # it may fail, which says nothing
                listed.append(params)
        if self._is_grid:
            return None
        num_repeats = num_refusals = 0
        while num_repeats < _MAX_REPEATS and num_refusals < _MAX_REFUSALS:
            trial = self._ask(budget)
            if not self._is_new(trial.params, budget):
                self._studies[budget].tell(trial, state=TrialState.FAIL)  # ignored by samplers
                num_repeats += 1
            elif self._take(trial, budget):
                return trial
            else:
                num_refusals += 1
        for params in self._others(budget):
            trial = self._ask_for(params, budget)
            if self._take(trial, budget):
                return trial
        return None

    def _ask(self, budget: int) -> optuna.Trial:
        """Return the next trial of the study's sampler."""
        study = self._studies[budget]
        is_starting = self._num_learned[budget] < _NUM_STARTUP
        study.sampler = (self._random if is_starting else self._samplers)[budget]
        return study.ask(self._space.distributions)

    def _ask_for(self, params: Mapping[str, Any], budget: int) -> optuna.Trial:
        """Return a trial of the study with these parameters."""
        study = self._studies[budget]
        study.enqueue_trial(dict(params))
        return study.ask(self._space.distributions)

    def _is_new(self, params: Mapping[str, Any], budget: int) -> bool:
        """Whether no trial of `budget` trained `params`, and no running one, whatever its budget,
        is about to say what they are worth.
        """
        is_tried = self._space.identity(params) in self._tried[budget]
        return not is_tried and not self._is_in_flight(params)

    def _is_in_flight(self, params: Mapping[str, Any]) -> bool:
        identity = self._space.identity(params)
        return any(opened.identity == identity for opened in self._open.values())

    def _opened(self, trial: optuna.Trial) -> _Open:
        return _Open(trial, self._space.identity(trial.params))

    def _others(self, budget: int) -> Iterator[Mapping[str, Any]]:
        """Yield new configurations: random ones, then every one, but none that needs more sampled
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

    def _take(self, trial: optuna.Trial, budget: int) -> bool:
        """Return whether `trial` fits; one that does not is recorded and told to its study."""
        self._tried[budget].add(self._space.identity(trial.params))
        prediction = self._prediction(trial.params, budget)
        if prediction is None or (
            not isinstance(prediction, Exception) and prediction.fits(budget)
        ):
            return True
        assert self._refuse is not None
        suggestion = self._name(trial, budget)
        record = self._refuse(suggestion, prediction)
        # its row is written: from here on a crash loses nothing
        trial.set_user_attr(TRIAL_ID, suggestion.trial_id)
        self._open[suggestion.trial_id] = self._opened(trial)
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
        """Return what a configuration will hold, or why it cannot be trained; None: no prediction
        is asked for.
        """
        if self._predict is None:
            return None
        try:
            return self._predict(self._space.config(params, budget))
        except ConfigError as error:
            return error

    def _name(self, trial: optuna.Trial, budget: int) -> Suggestion:
        """Return `trial` with the next number of the sweep."""
        trial_id = f"{self._next_number:05d}"
        self._next_number += 1
        self._known[budget].add(trial_id)
        return Suggestion(trial_id, budget, trial.params)

    def _spread(self, record: TrialRecord) -> None:
        """Add `record` to every study that does not have it and for which it says something."""
        params = self._space.params(record)
        for budget, study in self._studies.items():
            said = verdict(record, budget)
            if said is None or record.trial_id in self._known[budget]:
                continue
            violation = said.violation_bytes
            study.add_trial(
                optuna.trial.create_trial(
                    state=said.state,
                    values=said.values,
                    params=params,
                    distributions=self._space.distributions,
                    user_attrs={TRIAL_ID: record.trial_id, COPIED: True},
                    constraints=None if violation is None else {CONSTRAINT: float(violation)},
                )
            )
            self._known[budget].add(record.trial_id)
            self._tried[budget].add(self._space.identity(params))
            self._num_learned[budget] += said.state is TrialState.COMPLETE

    def _tell(self, budget: int, trial: optuna.Trial, said: Verdict) -> None:
        # it may be there, from a process that was killed after it
        if said.violation_bytes is not None and CONSTRAINT not in trial.constraints:
            trial.set_constraint(CONSTRAINT, said.violation_bytes)
        self._studies[budget].tell(trial, said.values, state=said.state)
        self._num_learned[budget] += said.state is TrialState.COMPLETE

    def _take_up(self, records: Sequence[TrialRecord]) -> None:
        """Bring the studies in line with `records`, and find the trials that were cut off."""
        cut_off = []
        ended = {record.trial_id for record in records}
        for budget, study in self._studies.items():
            for frozen in study.get_trials(deepcopy=False):
                suggestion = self._take_up_trial(budget, frozen)
                if suggestion is not None and suggestion.trial_id not in ended:
                    cut_off.append(suggestion)
        for record in records:
            self.tell(record)
        self._cut_off = deque(sorted(cut_off, key=lambda suggestion: suggestion.trial_id))
        ids = ended.union(*self._known.values())
        numbers = [int(trial_id) for trial_id in ids if trial_id.isdecimal()]
        self._next_number = max(numbers, default=-1) + 1

    def _take_up_trial(self, budget: int, frozen: FrozenTrial) -> Suggestion | None:
        """Note a trial of the study; return it if the study thinks that it is running."""
        study = self._studies[budget]
        if frozen.state is TrialState.WAITING:  # cut off in `_ask_for`
            study.tell(study.ask(), state=TrialState.FAIL)
            return None
        trial_id = frozen.user_attrs.get(TRIAL_ID)
        running = frozen.state is TrialState.RUNNING
        if trial_id is None:
            if running:  # cut off before it had a name
                study.tell(frozen.number, state=TrialState.FAIL)
            return None
        self._known[budget].add(trial_id)
        self._tried[budget].add(self._space.identity(frozen.params))
        self._num_learned[budget] += frozen.state is TrialState.COMPLETE
        if not running:
            return None
        self._open[trial_id] = self._opened(optuna.Trial(study, frozen._trial_id))
        return Suggestion(trial_id, budget, frozen.params)

    def _shuffled_grid(self, seed: int) -> list[dict[str, Any]]:
        """Return the points of the grid, so ordered that a part of them is spread over all."""
        points = list(self._space.points(GRID_STEPS))
        np.random.default_rng(seed).shuffle(points)
        return points

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


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _study(name: str, storage: BaseStorage) -> optuna.Study:
    """Return the study `name`, made if there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["metric", "peak_bytes"])
    return study
