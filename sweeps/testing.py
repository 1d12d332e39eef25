"""The contract suite of samplers, and the made-up memory law that it searches, without training.

Derive a test class from `SamplerContract` and name your sampler in it:

    from sweeps.testing import SamplerContract

    class TestMine(SamplerContract):
        sampler = "my_parts:MySampler"

Needs pytest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.results.records import infeasible_record, unstarted_record
from sweeps.search.budget_search import BudgetSearch, Suggestion
from sweeps.search.patch_space import patch_space
from sweeps.search.samplers import check_sampler, make_sampler
from sweeps.search.space import Space
from sweeps.search.study import TRIAL_ID

SMALL, LARGE = 40_000_000, 120_000_000
"""Budgets in bytes of which the smaller refuses part of the space."""

SPACE = patch_space(TrialConfig(image_size=512, patch_size=128))

MIXED = patch_space(
    TrialConfig(image_size=256, patch_size=64),
    varied={"method": None, "learning_rate": None, "precision": None, "patch_microbatch": None},
)
"""Every kind of parameter: floats, whole numbers, texts."""


def needed_bytes(config: TrialConfig) -> int:
    """Return what a made-up law says: sampled pixels count."""
    return 10_000_000 + config.num_sampled * config.patch_size**2 * 600


@dataclass(frozen=True)
class Predicted:
    """What a law says, as the estimator would say it."""

    needed_bytes: int

    @property
    def predicted_peak_bytes(self) -> int:
        """The peak."""
        return self.needed_bytes

    @property
    def predicted_reserved_bytes(self) -> int:
        """A little more than the peak."""
        return self.needed_bytes + 2**21

    def fits(self, budget_bytes: int) -> bool:
        """Whether a budget holds it."""
        return self.needed_bytes <= budget_bytes


def predict(config: TrialConfig) -> Predicted:
    """Return the prediction for `config`."""
    return Predicted(needed_bytes(config))


@dataclass
class Refusals:
    """Configurations that were not launched, in the order in which their rows were written."""

    space: Space = SPACE
    records: list[TrialRecord] = field(default_factory=list)

    def __call__(self, suggestion: Suggestion, prediction: Predicted) -> TrialRecord:
        """Record that `suggestion` is not launched."""
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
    """Return a search named `test`; `settings` are other arguments of `BudgetSearch`."""
    return BudgetSearch(
        space,
        budgets,
        num_trials=num_trials,
        sweep="test",
        storage=storage or InMemoryStorage(),
        **settings,
    )


def record_of(suggestion: Suggestion, *, space: Space = SPACE, **changes: Any) -> TrialRecord:
    """Return what the trial leaves behind: its peak is as the law says, and what fits completes."""
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
    """Run every trial that `search` proposes; return their records."""
    records = []
    while (suggestion := search.ask()) is not None:
        records.append(record_of(suggestion, space=space))
        search.tell(records[-1])
    return records


def tried_of(records: Iterable[TrialRecord], space: Space = SPACE) -> list[tuple]:
    """Return what may be tried once: the budget and what is trained."""
    return [(r.budget_bytes, space.identity(space.params(r))) for r in records]


def trials_of(storage: BaseStorage, budget: int) -> list[FrozenTrial]:
    """Return the trials of the study of `budget`."""
    return optuna.load_study(study_name=f"test-{budget}", storage=storage).trials


class SamplerContract:
    """What a sampler must keep to.

    Attributes:
        sampler: the name that `--sampler` has, such as `my_parts:MySampler`.
        num_trials: trials of a search; fewer for a slow sampler.
    """

    sampler: str
    num_trials = 12

    def search(self, space: Space = SPACE, **settings: Any) -> tuple[list, list]:
        """Return the records of the trials that one search launched, and of those it refused."""
        refusals = Refusals(space)
        settings = {"num_trials": self.num_trials, "predict": predict, **settings}
        search = make_search(
            space=space, budgets=(SMALL,), sampler=self.sampler, refuse=refusals, **settings
        )
        return run_to_the_end(search, space), refusals.records

    def test_it_is_made_and_proposes_for_two_objectives(self) -> None:
        """What a sweep checks before it starts."""
        assert isinstance(make_sampler(self.sampler, 0, self.num_trials), BaseSampler)
        check_sampler(self.sampler, 0, self.num_trials, MIXED.distributions)

    def test_equal_seeds_propose_equal_trials_and_other_seeds_others(self) -> None:
        """A search can be repeated."""
        one, same, other = (
            [SPACE.params(record) for record in self.search(seed=seed)[0]] for seed in (3, 3, 4)
        )
        assert one == same, "equal seeds propose different trials"
        assert one != other, "another seed proposes the same"

    @pytest.mark.parametrize("space", [SPACE, MIXED], ids=["patches", "mixed"])
    def test_proposals_lie_in_the_space_and_no_trial_is_wasted(self, space: Space) -> None:
        """As many trials as wanted, all different, all within the budget."""
        launched, refused = self.search(space)
        assert [record.status for record in launched] == [TrialStatus.COMPLETED] * self.num_trials
        for record in launched + refused:
            assert space.contains(space.params(record)), "a proposal outside of the space"
        tried = tried_of(launched + refused, space)
        assert len(set(tried)) == len(tried), "a configuration was proposed twice"

    def test_a_search_ends_where_nothing_fits(self) -> None:
        """Refusals are recorded, and are not repeated for ever."""
        launched, refused = self.search(predict=lambda config: Predicted(SMALL + 1))
        assert not launched
        assert len(refused) <= len(list(SPACE.points()))
        assert len(set(tried_of(refused))) == len(refused), "a refused configuration came twice"

    def test_what_cannot_fit_is_told_to_its_study(self) -> None:
        """As pruned, with a positive constraint: a sampler can learn from it."""
        storage = InMemoryStorage()
        _, refused = self.search(storage=storage)
        pruned = [t for t in trials_of(storage, SMALL) if t.state.name == "PRUNED"]
        assert len(pruned) == len(refused)
        assert all(max(trial.constraints.values()) > 0 for trial in pruned)

    def test_most_trials_after_the_start_are_its_own(self) -> None:
        """A sampler that keeps repeating itself is replaced by random proposals."""
        storage = InMemoryStorage()
        self.search(storage=storage)
        trials = [t for t in trials_of(storage, SMALL) if TRIAL_ID in t.user_attrs]
        own = [t for t in trials if "fixed_params" not in t.system_attrs]
        if self.sampler != "grid":  # the search lists its points
            assert len(own) > len(trials) / 2, "most of its proposals were tried before"

    def test_a_search_goes_on_from_its_storage(self) -> None:
        """A search that was cut off launches what is left, and nothing twice."""
        storage, half = InMemoryStorage(), self.num_trials // 2
        first, refused = self.search(storage=storage, num_trials=half)
        finished = [*first, *refused]
        rest, also_refused = self.search(storage=storage, finished=finished)
        assert len(first) + len(rest) == self.num_trials
        tried = tried_of([*finished, *rest, *also_refused])
        assert len(set(tried)) == len(tried), "a configuration was proposed twice"
