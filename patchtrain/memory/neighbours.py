"""Which processes of this machine use one GPU under a guard, and whose turn it is to measure.

One folder a GPU in the folder for temporary files: a file for each process with a guard, and a lock
that one of them holds while it measures. Containers with such folders of their own do not see each
other. Knows nothing of CUDA.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE_S = 60.0
"""How long to wait for others to measure, in seconds; then one measures beside them."""
_PAUSE_S = 0.05
_FOR_ALL = 0o777
"""Users share the GPU and this folder."""


class Neighbours:
    """The processes with a guard on the GPU `uuid`."""

    def __init__(self, uuid: str) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"patchtrain-gpu-{uuid}"

    def join(self) -> None:
        """Add this process, if the folder can be written."""
        with suppress(OSError):
            self._make_folder()
        with suppress(OSError):
            (self._folder / str(os.getpid())).touch()

    def leave(self) -> None:
        """Take this process out."""
        with suppress(OSError):
            (self._folder / str(os.getpid())).unlink()

    def others(self) -> list[int]:
        """Return the numbers of the other processes, without those that have ended."""
        with suppress(OSError):
            numbers = [int(path.name) for path in self._folder.iterdir() if path.name.isdecimal()]
            return [number for number in numbers if number != os.getpid() and _is_alive(number)]
        return []

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Context: no other process measures; the value is whether that is sure."""
        try:
            self._make_folder()
            handle = _opened(self._folder / "lock")
        except OSError:
            yield False
            return
        try:
            yield _locked(handle)
        finally:
            os.close(handle)  # which gives the lock back

    def _make_folder(self) -> None:
        self._folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # another user's, who has done it
            self._folder.chmod(_FOR_ALL)


def _opened(lock: Path) -> int:
    """Open the lock file so that every user can lock it, no matter who created it."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(lock, os.O_RDONLY)
    with suppress(PermissionError):
        os.fchmod(handle, 0o666)
    return handle


def _locked(handle: int) -> bool:
    """Wait for the lock; return whether it came."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
        time.sleep(_PAUSE_S)


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True
