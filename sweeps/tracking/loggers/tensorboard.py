"""TensorBoard: event files in the folder of each trial."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.logger.tensorboardx import TBXLoggerCallback


class TensorBoard(TBXLoggerCallback):
    """Ray's logger, with every trial in the table of hyperparameters."""

    def __init__(self) -> None:
        super().__init__()
        # after a full disk a writer takes no more: with a bounded queue Tune would wait forever
        self._summary_writer_cls = partial(self._summary_writer_cls, max_queue=0)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Write the row of the table, which Ray leaves out if nothing was measured."""
        if not self._trial_result.get(trial):
            self.log_trial_result(0, trial, {"epochs_done": 0, TRAINING_ITERATION: 0})
        files = self._trial_writer[trial].file_writer
        super().log_trial_end(trial, failed)
        files.event_writer = _CLOSED  # tensorboardX keeps `files` until the process ends


class _Closed:
    """Stands for a writer that is closed already."""

    def close(self) -> None:
        """Do nothing."""


_CLOSED = _Closed()


def make_logger(sweep: str, out: Path) -> TensorBoard:
    """Return the logger; it writes to the folders of the trials."""
    return TensorBoard()
