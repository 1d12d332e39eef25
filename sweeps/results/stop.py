"""`Stop`: how a driver that was told to end has the running trials save what they have trained.

The driver writes a file into RUN_DIR; each trial looks for it between two batches, and saves itself
next to its own files. This takes no message from the driver, whose workers are busy in an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from patchtrain.checkpoint import load_epoch, load_optimizer, load_state, load_weights
from patchtrain.errors import DataError
from patchtrain.files import atomic_path
from sweeps.results.patience import seconds_in

ASKED = "stopping"
"""Name of the file in RUN_DIR that asks trials to save themselves."""

SAVED = "stopped"
"""Name of the checkpoint in the folder of a trial that did."""

TRAINER = "trainer"
"""Folder of the trainer's state within a checkpoint; Tune puts its own next to it."""

_GRACE = "PATCHTRAIN_STOP_GRACE_S"
_GRACE_S = 20.0
"""How long trials get to save themselves: Slurm and Kubernetes kill after 30 s."""

_LOOK_EVERY_S = 0.2


class Stop:
    """The request to stop, in the folder of one sweep; the driver and the trials share it."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = run_dir / ASKED

    @property
    def is_asked(self) -> bool:
        """Whether trials are to save themselves now."""
        return self._path.exists()

    def saved_path(self, trial_id: str) -> Path:
        """Return the folder of the checkpoint that a trial writes then."""
        return self._run_dir / "trials" / trial_id / SAVED

    def saved_paths(self) -> list[Path]:
        """Return those that are there, of all trials."""
        return sorted(self._run_dir.glob(f"trials/*/{SAVED}"))

    def withdraw(self) -> None:
        """Ask no more."""
        self._path.unlink(missing_ok=True)

    def save(
        self,
        trial_ids: Collection[str],
        meanwhile: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> int:
        """Ask these trials to save themselves, and wait until they have or the grace is over;
        return how many have.

        Args:
            meanwhile: called once they are asked.
        """
        ends_at = clock() + grace_s()
        before = {name: _written_at(self.saved_path(name)) for name in trial_ids}
        self._ask()
        try:
            meanwhile()
            while True:
                now = {name: _written_at(self.saved_path(name)) for name in trial_ids}
                num_saved = sum(now[name] not in (None, before[name]) for name in trial_ids)
                if num_saved == len(trial_ids) or clock() >= ends_at:
                    return num_saved
                sleep(_LOOK_EVERY_S)
        finally:
            self.withdraw()

    def _ask(self) -> None:
        with atomic_path(self._path) as temporary:
            temporary.write_text("the sweep is ending: trials save themselves after the batch\n")


def grace_s() -> float:
    """Return how long trials get to save themselves, in seconds.

    Raises:
        ConfigError: the environment variable holds something else.
    """
    return seconds_in(_GRACE, _GRACE_S, "to wait for 20 s")


UNREADABLE = (-1, 0)


def progress_of(checkpoint: Path) -> tuple[int, int]:
    """Return how far a trial's checkpoint is, in whole epochs and batches of the next, or
    `UNREADABLE`.
    """
    folder = checkpoint / TRAINER
    try:
        state = load_state(folder)
        begun = state.get("begun")
        for load in (load_weights, load_optimizer, *([load_epoch] if begun else [])):
            load(folder)
        return state["epochs_done"], begun["part"]["batches_done"] if begun else 0
    except (DataError, KeyError, TypeError):
        return UNREADABLE


def _written_at(saved: Path) -> int | None:
    """Return when a checkpoint was written, as the file system says."""
    try:
        return (saved / TRAINER).stat().st_mtime_ns
    except OSError:
        return None
