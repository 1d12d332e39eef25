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

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads."""
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Empty a trial that ended well, or was stopped."""
        _empty(trial)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Empty a trial whose worker died."""
        _empty(trial)


def _empty(trial: Trial) -> None:
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()
    trial.run_metadata.last_result = {}
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.config = {"trial_id": trial.config["trial_id"]}
    vars(trial).pop("_Trial__unresolved_config", None)  # which it would run again with
