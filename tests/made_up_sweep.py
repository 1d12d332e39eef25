"""A sweep over a made-up memory law: searches, predictions and records without any training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.results.records import infeasible_record, unstarted_record
from sweeps.search.budget_search import BudgetSearch, Suggestion
from sweeps.search.patch_space import patch_space
from sweeps.search.space import Space
from sweeps.search.study import TRIAL_ID

SMALL, LARGE = 40_000_000, 120_000_000
SPACE = patch_space(TrialConfig(image_size=512, patch_size=128))


def needed_bytes(config: TrialConfig) -> int:
    """A made-up law: sampled pixels count."""
    return 10_000_000 + config.num_sampled * config.patch_size**2 * 600


@dataclass(frozen=True)
class Predicted:
    """What a law says, as the estimator would say it."""

    needed_bytes: int

    @property
    def predicted_peak_bytes(self) -> int:
        return self.needed_bytes

    @property
    def predicted_reserved_bytes(self) -> int:
        return self.needed_bytes + 2**21

    def fits(self, budget_bytes: int) -> bool:
        return self.needed_bytes <= budget_bytes


def predict(config: TrialConfig) -> Predicted:
    return Predicted(needed_bytes(config))


@dataclass
class Refusals:
    """Configurations that were not launched, in the order in which their rows were written."""

    space: Space = SPACE
    records: list[TrialRecord] = field(default_factory=list)

    def __call__(self, suggestion: Suggestion, prediction: Predicted) -> TrialRecord:
        config = self.space.config(suggestion.params, suggestion.budget_bytes)
        self.records.append(infeasible_record(config, suggestion.trial_id, "test", prediction))
        return self.records[-1]


def make_search(
    storage: BaseStorage | None = None,
    *,
    space: Space = SPACE,
    budgets: tuple[int, ...] = (SMALL, LARGE),
    num_trials: int = 12,
    **settings: Any,
) -> BudgetSearch:
    return BudgetSearch(
        space,
        budgets,
        num_trials=num_trials,
        sweep="test",
        storage=storage or InMemoryStorage(),
        **settings,
    )


def record_of(suggestion: Suggestion, *, space: Space = SPACE, **changes: Any) -> TrialRecord:
    """Return the record of the trial: the peak follows the law, and what fits completes."""
    config = space.config(suggestion.params, suggestion.budget_bytes)
    needed = needed_bytes(config)
    fits = needed <= suggestion.budget_bytes
    values: Mapping[str, Any] = {
        "status": TrialStatus.COMPLETED if fits else TrialStatus.OUT_OF_MEMORY,
        "peak_allocated_bytes": needed,
        "metric": config.num_sampled / config.num_patches if fits else None,
        "metric_name": "accuracy",
        "group": suggestion.trial_id,
        "error": None,
        "finished_at": None,
    }
    made = unstarted_record(config, suggestion.trial_id, "test", RuntimeError())
    return dataclasses.replace(made, **{**values, **changes})


def run_to_the_end(search: BudgetSearch, space: Space = SPACE) -> list[TrialRecord]:
    records = []
    while (suggestion := search.ask()) is not None:
        records.append(record_of(suggestion, space=space))
        search.tell(records[-1])
    return records


def tried_of(records: Iterable[TrialRecord], space: Space = SPACE) -> list[tuple]:
    """Return what may be tried once: the budget and what is trained."""
    return [(r.budget_bytes, space.identity(space.params(r))) for r in records]


def trials_of(storage: BaseStorage, budget: int) -> list[FrozenTrial]:
    return optuna.load_study(study_name=f"test-{budget}", storage=storage).trials


def state_of(storage: BaseStorage, budget: int, trial_id: str) -> FrozenTrial | None:
    found = [t for t in trials_of(storage, budget) if t.user_attrs.get(TRIAL_ID) == trial_id]
    assert len(found) <= 1
    return found[0] if found else None


def points(num_points: int) -> list[dict[str, Any]]:
    """Some draws, spread over the space; the last ones cannot fit the small budget."""
    spread = list(itertools.islice(SPACE.points(), 0, None, 97))
    return sorted(spread, key=lambda params: needed_bytes(SPACE.config(params)))[:num_points]
