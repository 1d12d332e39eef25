"""`Tracker`: turns what Tune reports into flat views and hands them to one of Ray's loggers.

Knows nothing of the run folder and the search, which have written and heard everything before.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from patchtrain.record import METRIC_PREFIX, TrialStatus
from sweeps.results.records import one_line, unstarted_record
from sweeps.trainable import EPOCH, RECORD

_OF_TRIAL = ("metric", "peak_allocated_bytes", "peak_reserved_bytes", "peak_process_bytes")
"""Columns of a trial's row that its last result repeats where that finished no epoch."""

_OF_EPOCH = (*_OF_TRIAL, "train_loss", "learning_rate", "images_per_s", "train_time_s")
"""Columns of an epoch's row that are logged; all but the task's metrics."""

_MAX_MESSAGE = 200
"""Characters of an error that are printed; servers answer with pages."""


@dataclass(eq=False)
class TrialView:
    """A trial as Ray's loggers read it: the attributes of Tune's that they use."""

    name: str
    trial_id: str
    """Tune's own, which is another for each start of the trial, as trackers want it."""
    config: Mapping[str, Any]
    """The trial's settings by name."""
    local_path: str
    """Folder for the trial's files, that of Tune's own."""
    experiment_dir_name: str
    status: str | None = None
    """How it ended; None while it runs."""

    def __str__(self) -> str:
        return self.name

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What TensorBoard lists beside the metrics of a trial that ended."""
        return {**self.config, "status": self.status}

    def init_local_path(self) -> None:
        """Make the folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


class Tracker(Callback):
    """One of Ray's loggers, fed with views; off for good when it fails.

    Tune would end over an exception of a callback's, so none gets out of here.

    Args:
        label: what it is called when it fails.
        make_logger: called when Tune starts.
    """

    def __init__(self, label: str, make_logger: Callable[[], LoggerCallback]) -> None:
        self._label = label
        self._make_logger = make_logger
        self._logger: Any = None  # given views where Ray's annotations say trials
        self._views: dict[Trial, TrialView] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to the copy that Tune writes and nobody reads: loggers hold connections."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Make the logger and connect it."""
        try:
            self._logger = self._make_logger()
            self._logger.setup(*args, **info)
        except Exception as error:
            self._switch_off(error)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Show the trial with its settings."""
        self._call(lambda logger: logger.log_trial_start(self._view(trial)))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any
    ) -> None:
        """Log what is known of the epoch."""
        self._call(
            lambda logger: logger.log_trial_result(iteration, self._view(trial), metrics(result))
        )

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Show how the trial ended."""
        self._call(lambda logger: self._end(logger, trial, died=False))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Show how a trial ended whose worker died; after out of memory it does so always."""
        self._call(lambda logger: self._end(logger, trial, died=True))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Wait for what is on its way to the tracker."""
        self._call(lambda logger: logger.on_experiment_end(list(self._views.values())))

    def _call(self, hook: Callable[[Any], None]) -> None:
        if self._logger is not None:
            try:
                hook(self._logger)
            except Exception as error:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._logger = None
        message = one_line(getattr(error, "cause", None) or error)  # Ray's wrap a worker's
        reason = textwrap.shorten(message, _MAX_MESSAGE, placeholder="...")
        print(
            f"{self._label} failed ({reason}): the sweep goes on without it",
            file=sys.stderr,
            flush=True,
        )

    def _view(self, trial: Trial) -> TrialView:
        if trial not in self._views:
            self._views[trial] = TrialView(
                name=trial.config["trial_id"],
                trial_id=trial.trial_id,
                config=settings(trial),
                # not Tune's local one, whose files would come to the run folder with a delay
                local_path=str(trial.path),
                experiment_dir_name=trial.experiment_dir_name,
            )
        return self._views[trial]

    def _end(self, logger: Any, trial: Trial, *, died: bool) -> None:
        if trial not in self._views:  # its worker never came up
            logger.log_trial_start(self._view(trial))
        view = self._view(trial)
        view.status = status(trial, died=died).value
        logger.log_trial_end(view, failed=view.status == TrialStatus.FAILED.value)


def settings(trial: Trial) -> dict[str, Any]:
    """Return the trial's settings by name, those that are None left out, and its group."""
    values = dataclasses.asdict(trial.config["config"])
    values["group"] = trial.config.get("group")
    return {name: value for name, value in values.items() if value is not None}


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what is logged of a result of `BudgetTrainable`: the known and finite numbers.

    `training_iteration` is the step that they belong to, epochs done. Where the trial ended within
    an epoch, what it has reached and held so far is logged once more.
    """
    is_epoch = result[EPOCH] is not None
    row, names = (result[EPOCH], _OF_EPOCH) if is_epoch else (result[RECORD], _OF_TRIAL)
    logged = {
        name: value
        for name, value in row.items()
        if (name in names or name.startswith(METRIC_PREFIX))
        and isinstance(value, Real)
        and math.isfinite(value)
    }
    return {**logged, "training_iteration": result["training_iteration"]}


def status(trial: Trial, *, died: bool) -> TrialStatus:
    """Return how a trial ended: as it said itself, or by the error of its worker, if that died."""
    row = (trial.last_result or {}).get(RECORD)
    # a trial is as good as stopped early until it says how it ended
    if row is not None and (not died or row["status"] != TrialStatus.STOPPED_EARLY.value):
        return TrialStatus(row["status"])
    error = trial.get_pickled_error() or RuntimeError("no reason is known")
    config = trial.config
    return unstarted_record(config["config"], config["trial_id"], config["sweep"], error).status
