"""`Forget`: lets Tune's trials go that ended, so that a sweep of thousands takes no more memory.

Tune keeps every trial until the end, with its last result, the history of its numbers and two
copies of its configuration. All of it is in the run folder.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial


class Forget(Callback):
    """Empties trials that ended; put it after every other callback."""

    def __init__(self) -> None:
        self._resources: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads."""
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Empty a trial that ended well, or was stopped."""
        self._empty(trial)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Empty a trial whose worker died."""
        self._empty(trial)

    def _empty(self, trial: Trial) -> None:
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        trial.evaluated_params = {}
        trial.experiment_tag = ""
        trial.config = {"trial_id": trial.config["trial_id"]}
        trial.run_metadata.last_result = {"trial_id": trial.trial_id}
        # equal for all trials of a budget, but each has its own
        resources = trial.placement_group_factory
        trial.placement_group_factory = self._resources.setdefault(resources, resources)
        for name in _PRIVATE & vars(trial).keys():
            setattr(trial, name, None)


_PRIVATE = {"_Trial__unresolved_config", "_default_result_or_future"}
"""What Tune would begin the trial anew with, and a result that it never asks for."""
