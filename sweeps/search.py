"""Which configuration to try next under which budget: one Optuna study a budget, told of memory.

Knows nothing of trainers, files of results or placement; `BudgetSearch` is also a Tune `Searcher`.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from patchtrain.record import TrialRecord
from sweeps.spaces import Space
from sweeps.verdict import Verdict, verdict

TRIAL_ID = "trial_id"
"""User attribute of an Optuna trial: the trial of the sweep that it stands for."""

COPIED = "copied"
"""User attribute: this result was measured under another budget and holds for this one too."""

CONSTRAINT = "memory_bytes"
"""The Optuna constraint: peak minus budget, in bytes; a trial fits when it is 0 or less."""

_MAX_REPEATS = 3
"""Proposals of a configuration already tried before a random new one is taken instead."""

_MAX_DRAWS = 200
"""Random draws in search of a configuration that was not tried yet."""


@dataclass(frozen=True)
class Suggestion:
    """A trial to run."""

    trial_id: str
    budget_bytes: int
    params: Mapping[str, Any]


class BudgetSearch(Searcher):
    """Proposes trials, budgets in turn, and learns from their records.

    Everything it knows is in the storage and in the records: made anew over both, it goes on
    where the last one was cut off. `suggest` serves Tune; `tell` takes the record of a trial once
    its row is written (Tune's own `on_trial_complete` carries no record when a worker died).

    Args:
        space: what to draw from.
        budgets_bytes: budgets, served in turn.
        num_trials: how many trials the whole sweep has, finished ones included.
        sweep: prefix of the names of the studies.
        storage: where the studies are, see `open_storage`.
        finished: records of the trials that ended already.
        seed: of the samplers.
        checkpoints: trial id -> folder that a trial which was cut off goes on from.
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
    ) -> None:
        super().__init__()
        self._checkpoints = dict(checkpoints or {})
        self._space = space
        self._sweep = sweep
        self._budgets_bytes = tuple(budgets_bytes)
        num_startup = min(10, max(4, num_trials // (2 * len(budgets_bytes))))
        self._studies = {
            budget: _study(f"{sweep}-{budget}", storage, num_startup, (seed, index))
            for index, budget in enumerate(budgets_bytes)
        }
        self._dice = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        self._known: dict[int, set[str]] = {budget: set() for budget in budgets_bytes}
        self._tried: dict[int, set[tuple]] = {budget: set() for budget in budgets_bytes}
        self._open: dict[str, optuna.Trial] = {}
        self._cut_off: deque[Suggestion] = deque()
        self._next_number = 0
        records = sorted(finished, key=lambda record: record.trial_id)
        self._take_up(records)
        self._num_left = max(0, num_trials - len(records) - len(self._cut_off))

    @property
    def num_cut_off(self) -> int:
        """Trials that were begun by an earlier process and are to be run first."""
        return len(self._cut_off)

    @property
    def num_to_run(self) -> int:
        """Trials still to be proposed."""
        return len(self._cut_off) + self._num_left

    def ask(self) -> Suggestion | None:
        """Return the next trial to run; None when the sweep has all its trials."""
        if self._cut_off:
            return self._cut_off.popleft()
        if self._num_left == 0:
            return None
        budget = self._budgets_bytes[self._next_number % len(self._budgets_bytes)]
        trial = self._propose(budget)
        trial_id = f"{self._next_number:05d}"
        trial.set_user_attr(TRIAL_ID, trial_id)
        self._next_number += 1
        self._num_left -= 1
        self._open[trial_id] = trial
        self._known[budget].add(trial_id)
        self._tried[budget].add(self._space.identity(trial.params))
        return Suggestion(trial_id, budget, trial.params)

    def tell(self, record: TrialRecord) -> None:
        """Learn from a finished trial, for every budget that it says something about."""
        trial = self._open.pop(record.trial_id, None)
        if trial is not None and record.budget_bytes is not None:
            said = verdict(record, record.budget_bytes)
            assert said is not None
            _tell(self._studies[record.budget_bytes], trial, said)
        self._spread(record)

    def _propose(self, budget: int) -> optuna.Trial:
        """Ask the study, and dice where it insists on what was tried under this budget."""
        study = self._studies[budget]
        distributions = self._space.distributions
        for _ in range(_MAX_REPEATS):
            trial = study.ask(distributions)
            if self._space.identity(trial.params) not in self._tried[budget]:
                return trial
            study.tell(trial, state=TrialState.FAIL)  # ignored by samplers
        for _ in range(_MAX_DRAWS):
            params = self._dice.ask(distributions).params
            if self._space.identity(params) not in self._tried[budget]:
                study.enqueue_trial(params)
                break
        return study.ask(distributions)

    def _spread(self, record: TrialRecord) -> None:
        """Add `record` to every study that does not have it and for which it says something."""
        params = {name: getattr(record, name) for name in self._space.distributions}
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
        self._next_number = max((int(trial_id) + 1 for trial_id in ids), default=0)

    def _take_up_trial(self, budget: int, frozen: FrozenTrial) -> Suggestion | None:
        """Note a trial of the study; return it if the study thinks that it is running."""
        study = self._studies[budget]
        trial_id = frozen.user_attrs.get(TRIAL_ID)
        running = frozen.state is TrialState.RUNNING
        if trial_id is None:
            if running:  # cut off before it had a name
                study.tell(frozen.number, state=TrialState.FAIL)
            return None
        self._known[budget].add(trial_id)
        self._tried[budget].add(self._space.identity(frozen.params))
        if not running:
            return None
        self._open[trial_id] = optuna.Trial(study, frozen._trial_id)
        return Suggestion(trial_id, budget, frozen.params)

    # Tune's side

    def suggest(self, trial_id: str) -> dict[str, Any] | Any:
        """Return the next trial as `BudgetTrainable` takes it, or FINISHED; Tune's id is unused."""
        suggestion = self.ask()
        if suggestion is None:
            return Searcher.FINISHED
        return {
            TRIAL_ID: suggestion.trial_id,
            "sweep": self._sweep,
            "config": self._space.config(suggestion.params, suggestion.budget_bytes),
            "checkpoint": self._checkpoints.get(suggestion.trial_id),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """Do nothing: `tell` gets the trial's record, in the order that a crash can bear."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to the copy that Tune writes and nobody reads: the storage has it all."""
        return {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict, **spec: Any
    ) -> bool:
        """Accept Tune's settings, of which none is needed."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the storage holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the storage holds the state."""


def _study(
    name: str, storage: BaseStorage, num_startup: int, seed: tuple[int, int]
) -> optuna.Study:
    """Return the study `name`, made if there is none, with a sampler that does not repeat itself.

    A sampler made anew would roll the same dice as the last one, so its seed takes in the number
    of trials that are there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    num_trials = len(study.get_trials(deepcopy=False))
    state = np.random.SeedSequence([*seed, num_trials]).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=num_startup,
            multivariate=True,  # what fits in memory is a joint property of the parameters
            constant_liar=True,  # trials run side by side
            seed=int(state[0]),
        )
        study.set_metric_names(["metric", "peak_bytes"])
    return study


def _tell(study: optuna.Study, trial: optuna.Trial, said: Verdict) -> None:
    if said.violation_bytes is not None:
        trial.set_constraint(CONSTRAINT, said.violation_bytes)
    study.tell(trial, said.values, state=said.state)
