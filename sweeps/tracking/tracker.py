"""`Tracker`: turns what Tune reports into flat views, and hands them to one of Ray's loggers.

Knows nothing of the run folder and the search, which get everything first.
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

from patchtrain.errors import one_line
from patchtrain.record import METRIC_PREFIX, TrialStatus
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.records import unstarted_record

_OF_TRIAL = ("metric", "peak_allocated_bytes", "peak_reserved_bytes", "peak_process_bytes")
"""Columns of a trial's row that are logged with its last result if that finished no epoch."""

_OF_EPOCH = (*_OF_TRIAL, "train_loss", "learning_rate", "images_per_s", "train_time_s")
"""Columns of an epoch's row that are logged, besides the metrics of the task."""

_MAX_MESSAGE = 200
"""Characters of an error that are printed; servers may answer with whole pages."""


@dataclass(eq=False)
class TrialView:
    """A trial as Ray's loggers see it: the attributes of a Tune trial that they use."""

    name: str
    trial_id: str
    """Tune's own id, which is a new one for each start of the trial, as trackers want it."""
    config: Mapping[str, Any]
    """Settings of the trial, by name."""
    local_path: str
    """Folder for the trial's files; Tune uses it too."""
    experiment_dir_name: str
    status: str | None = None
    """How the trial ended; None while it runs."""

    def __str__(self) -> str:
        return self.name

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What TensorBoard lists next to the metrics of a finished trial."""
        return {**self.config, "status": self.status}

    def init_local_path(self) -> None:
        """Create the folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


class Tracker(Callback):
    """One of Ray's loggers, fed with views; switched off for good when it fails.

    An exception in a callback would end Tune, so none leaves this class.

    Args:
        label: name of the logger for the message when it fails.
        make_logger: makes the logger; called when Tune starts.
    """

    def __init__(self, label: str, make_logger: Callable[[], LoggerCallback]) -> None:
        self._label = label
        self._make_logger = make_logger
        self._logger: Any = None  # given views where Ray's annotations say trials
        self._views: dict[Trial, TrialView] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads; loggers hold sockets."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        """Make the logger, and connect it."""
        try:
            self._logger = self._make_logger()
            self._logger.setup(*args, **info)
        except Exception as error:
            self._switch_off(error)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Log the start of the trial, with its settings."""
        self._call(lambda logger: logger.log_trial_start(self._view(trial)))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any
    ) -> None:
        """Log the numbers of the epoch."""
        self._call(
            lambda logger: logger.log_trial_result(iteration, self._view(trial), metrics(result))
        )

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Log how the trial ended."""
        self._call(lambda logger: self._end(logger, trial, died=False))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Log how a trial ended whose worker died, as it always does after out of memory."""
        self._call(lambda logger: self._end(logger, trial, died=True))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Wait until everything has reached the tracker."""
        self._call(lambda logger: logger.on_experiment_end(list(self._views.values())))

    def _call(self, hook: Callable[[Any], None]) -> None:
        if self._logger is not None:
            try:
                hook(self._logger)
            except Exception as error:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._logger = None
        message = one_line(getattr(error, "cause", None) or error)  # Ray wraps errors of workers
        reason = textwrap.shorten(message, _MAX_MESSAGE, placeholder="...")
        print(
            f"{self._label} failed ({reason}): the sweep continues without it",
            file=sys.stderr,
            flush=True,
        )

    def _view(self, trial: Trial) -> TrialView:
        if trial not in self._views:
            self._views[trial] = TrialView(
                name=trial.config["trial_id"],
                trial_id=trial.trial_id,
                config=settings(trial),
                # not Tune's local folder, whose files reach the run folder with a delay
                local_path=str(trial.path),
                experiment_dir_name=trial.experiment_dir_name,
            )
        return self._views[trial]

    def _end(self, logger: Any, trial: Trial, *, died: bool) -> None:
        if trial not in self._views:  # the worker never started
            logger.log_trial_start(self._view(trial))
        view = self._view(trial)
        view.status = status(trial, died=died).value
        logger.log_trial_end(view, failed=view.status == TrialStatus.FAILED.value)
        del self._views[trial]


def settings(trial: Trial) -> dict[str, Any]:
    """Return the settings of the trial that are not None, by name, and its group."""
    values = dataclasses.asdict(trial.config["config"])
    values["group"] = trial.config.get("group")
    return {name: value for name, value in values.items() if value is not None}


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what is logged of a result of `BudgetTrainable`: the known and finite numbers.

    `training_iteration` is the step that they belong to: the number of finished epochs. If the
    trial ended within an epoch, its metric and peaks so far are logged again.
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
    """Return how a trial ended: by its own record, or by the error of a worker that died."""
    row = (trial.last_result or {}).get(RECORD)
    # until a trial is over, its record has the status "stopped early"
    if row is not None and (not died or row["status"] != TrialStatus.STOPPED_EARLY.value):
        return TrialStatus(row["status"])
    error = trial.get_pickled_error() or RuntimeError("no reason is known")
    config = trial.config
    return unstarted_record(config["config"], config["trial_id"], config["sweep"], error).status
