"""One owner at a time for a folder of results, by a lock that its process's end releases."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

from patchtrain.errors import ConfigError
from patchtrain.files import leftovers

_log = logging.getLogger(__name__)

LOCK = "lock"
"""Name of the lock's file in a folder."""


def content_of(folder: Path) -> set[str]:
    """Return the names of what lies in `folder`, but for a lock, and for what a process left that
    was killed while it wrote the first file.
    """
    if not folder.is_dir():
        return set()
    left_over = {path.name for path in leftovers(folder, "*")}
    return {path.name for path in folder.iterdir()} - {LOCK} - left_over


class Owned:
    """Context: this process alone writes into `folder`. Made if it is missing.

    A crash, a kill or a reboot releases the lock. On NFS it holds between machines as well, unless
    the server offers no locks, which is then logged as a warning.

    Args:
        folder: what is owned.
        name: of the lock's file; there may be one for each purpose.
        what: who else could own it, for messages, e.g. `a trial`.
        is_kept: whether the lock's file stays when the lock is released.

    Raises:
        ConfigError: it has another owner, or cannot be written.
    """

    def __init__(self, folder: Path, name: str, what: str, *, is_kept: bool = False) -> None:
        self._path = folder / name
        self._what = what
        self._is_kept = is_kept
        self._file: IO[str] | None = None

    def __enter__(self) -> Owned:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while self._file is None:
                self._file = self._taken()
        except OSError as error:
            raise ConfigError(
                f"--out {folder} cannot be written ({error.strerror}); give another folder"
            ) from None
        return self

    def _taken(self) -> IO[str] | None:
        """Return the locked file; None if its last owner removed it meanwhile."""
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise ConfigError(
                f"--out {self._path.parent} is in use by {self._what} that is running ({owner}); "
                "wait for it, or stop it first"
            ) from None
        except OSError as error:
            _log.warning(
                "%s: its file system offers no locks (%s); let nothing else write there",
                *(self._path.parent, error.strerror),
            )
        if not _is_file(self._path, file):
            file.close()
            return None
        with suppress(OSError):  # a full disk: only the owner's name is missing then
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        return file

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._file is None:
            return
        if not self._is_kept:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk: the name of the owner does not matter any more
            self._file.close()
        self._file = None


def _is_file(path: Path, file: IO[str]) -> bool:
    """Return whether `file` is what lies at `path` now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
