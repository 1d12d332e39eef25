"""`StatelessSearcher`: a Tune searcher that keeps its state on disk by itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ray.tune.search import Searcher

from patchtrain.record import TrialRecord


class StatelessSearcher(Searcher):
    """Proposes trials in `suggest` and learns from records in `tell`.

    Tune's own call with a result does nothing here: it has no record if a worker died.
    """

    num_to_run: int
    """Trials still to be proposed, at most."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether nothing is left to propose and every proposed trial has ended."""

    @abstractmethod
    def tell(self, record: TrialRecord) -> None:
        """Learn from a trial whose row is written."""

    @abstractmethod
    def put_off(self, record: TrialRecord) -> None:
        """Take note that a trial failed for a reason outside it: a later start tries it again."""

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """Do nothing, see `tell`."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads."""
        return {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict, **spec: Any
    ) -> bool:
        """Accept Tune's settings; none of them is needed."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the state is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the state is on disk."""
