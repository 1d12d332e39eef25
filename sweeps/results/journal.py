"""The file that holds the studies of the search: opened, repaired, and written to patiently."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.results.patience import patiently

_LOCK = ".lock"
"""What Optuna adds to the journal's name for its lock."""


def open_storage(path: Path) -> BaseStorage:
    """Return the Optuna storage in the file `path`, repaired if its writer was killed.

    It is a journal, which `optuna-dashboard PATH` reads: appending is safe on network file systems,
    where the locks of SQLite are not. The caller must be the only writer.
    """
    if path.exists():
        _cut_torn_line(path)
        for lock in path.parent.glob(f"{path.name}{_LOCK}*"):  # renamed ones included
            lock.unlink()
    return JournalStorage(PatientJournalFile(path))


class PatientJournalFile(JournalFileBackend):
    """Optuna's journal file, but appending waits while the file cannot be written.

    Every entry is in the file once and whole, or not at all: what a failed attempt left behind is
    cut off before the next attempt.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._cut_at_bytes: int | None = None
        self._has_lock = False

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; they are on disk once this returns.

        Raises:
            OSError: see `patience.patiently`.
        """
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        entries = "".join(lines).encode()
        patiently(lambda: self._append(entries), str(self._path))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the entries, starting at a number.

        Raises:
            OSError: see `patience.patiently`.
        """
        read = super().read_logs
        if log_number_from == 0:  # at the start, when there may be many
            yield from read(0)
        else:  # as a list: entries read before a failure must not be yielded twice
            yield from patiently(lambda: list(read(log_number_from)), str(self._path))

    def _append(self, entries: bytes) -> None:
        if not self._has_lock:
            self._lock.acquire()
        try:
            # never created here: if a mount is gone, the file would be hidden once it is back
            descriptor = os.open(self._path, os.O_RDWR)
            try:
                self._write_whole(descriptor, entries)
            finally:
                with suppress(OSError):  # the entries are on disk by now
                    os.close(descriptor)
        finally:
            self._release()

    def _release(self) -> None:
        """Release the lock; one that cannot be removed now is kept for the next entry."""
        with suppress(RuntimeError):
            self._lock.release()
        self._has_lock = os.path.lexists(f"{self._path}{_LOCK}")

    def _write_whole(self, descriptor: int, entries: bytes) -> None:
        if self._cut_at_bytes is not None:
            self._cut(descriptor, self._cut_at_bytes)
        size_bytes = os.fstat(descriptor).st_size
        num_written = 0
        try:
            while num_written < len(entries):  # a disk that fills up takes only a part
                num_written += os.pwrite(
                    descriptor, entries[num_written:], size_bytes + num_written
                )
            os.fsync(descriptor)
        except BaseException:
            self._cut_at_bytes = size_bytes
            self._cut(descriptor, size_bytes)
            raise

    def _cut(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)
        self._cut_at_bytes = None


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last newline: an entry whose writer died while writing."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
