"""`Checkpoints`: which checkpoint each trial of a run folder goes on from, and the others' removal.

`trials/<id>/checkpoint.txt` names the newest complete one of a whole epoch; Tune writes them below
`tune/`. `trials/<id>/stopped` is what a trial saved when the sweep was told to end, see `Stop`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path

from patchtrain.files import atomic_path
from sweeps.results.stop import UNREADABLE, Stop, progress_of

NOTE = "checkpoint.txt"
"""Name of the file that names a trial's newest checkpoint."""

_FORM = "checkpoint_*"


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        run_dir: the folder.
        tune_path: where Tune's state is, with one experiment for each start of the sweep.
        write: calls what writes into the folder, see `RunFolder`.
    """

    def __init__(
        self, run_dir: Path, tune_path: Path, write: Callable[[Callable[[], None]], None]
    ) -> None:
        self._run_dir = run_dir
        self._tune_path = tune_path
        self._write = write
        self._stop = Stop(run_dir)

    def note(self, trial_id: str, checkpoint: str) -> None:
        """Remember the newest complete checkpoint of a running trial; remove older ones."""
        newest = Path(checkpoint)
        self._write(partial(_write_text, self._note(trial_id), self._relative(newest)))
        for older in newest.parent.glob(_FORM):
            if older.name != newest.name:
                shutil.rmtree(older, ignore_errors=True)
        shutil.rmtree(self._stop.saved_path(trial_id), ignore_errors=True)

    def found(self) -> dict[str, str]:
        """Return the checkpoint of each trial that was cut off which is furthest, by trial id; says
        which are missing, so that their trials begin anew.
        """
        saved = {path.parent.name: progress_of(path) for path in self._stop.saved_paths()}
        saved = {name: progress for name, progress in saved.items() if progress > UNREADABLE}
        found = {name: str(self._stop.saved_path(name)) for name in saved}
        for note in sorted(self._run_dir.glob(f"trials/*/{NOTE}")):
            checkpoint = self._placed(Path(note.read_text()))
            name = note.parent.name
            if name in saved and saved[name] >= progress_of(checkpoint):
                continue
            if checkpoint.is_dir():
                found[name] = str(checkpoint)
            else:
                print(
                    f"{name}: its checkpoint {checkpoint} is missing; the trial begins anew",
                    file=sys.stderr,
                    flush=True,
                )
        return found

    def drop(self, trial_id: str) -> None:
        """Remove the checkpoints of a trial that is over; those of a whole sweep fill a disk."""
        # first the note: a folder that is half gone must not be gone on from
        self._write(partial(self._note(trial_id).unlink, missing_ok=True))
        for checkpoint in self._tune_path.glob(f"*/{trial_id}/{_FORM}"):
            shutil.rmtree(checkpoint, ignore_errors=True)
        shutil.rmtree(self._stop.saved_path(trial_id), ignore_errors=True)

    def drop_leftovers(self, ended: Container[str]) -> None:
        """Remove what a kill left of the checkpoints of the trials that `ended`."""
        for note in self._run_dir.glob(f"trials/*/{NOTE}"):
            if note.parent.name in ended:
                self._write(partial(note.unlink, missing_ok=True))
        for checkpoint in (*self._tune_path.glob(f"*/*/{_FORM}"), *self._stop.saved_paths()):
            if checkpoint.parent.name in ended:
                shutil.rmtree(checkpoint, ignore_errors=True)

    def _note(self, trial_id: str) -> Path:
        return self._run_dir / "trials" / trial_id / NOTE

    def _relative(self, path: Path) -> str:
        """Return `path` as it is noted: from RUN_DIR on, which may be moved."""
        absolute = path.absolute()
        own = self._run_dir.absolute()
        return str(absolute.relative_to(own) if absolute.is_relative_to(own) else absolute)

    def _placed(self, noted: Path) -> Path:
        """Return the place of what `_relative` noted, or earlier versions with an absolute path."""
        path = self._run_dir.absolute() / noted
        name = self._tune_path.name
        if not path.is_dir() and name in noted.parts:
            inside = noted.parts[len(noted.parts) - noted.parts[::-1].index(name) :]
            path = self._tune_path.absolute().joinpath(*inside)
        return path


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)
