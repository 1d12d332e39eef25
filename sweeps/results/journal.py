"""The file that keeps the search's studies: opened, repaired, written with patience."""

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


def open_storage(path: Path) -> BaseStorage:
    """Return the Optuna storage in the file `path`, repaired if its writer was killed.

    A journal (`optuna-dashboard PATH` reads it): appending is safe on network file systems,
    where SQLite's locks are not. Its caller must be the only writer.
    """
    if path.exists():
        _cut_torn_line(path)
        Path(f"{path}.lock").unlink(missing_ok=True)
    return JournalStorage(PatientJournalFile(path))


class PatientJournalFile(JournalFileBackend):
    """Optuna's journal file, whose appends wait while the file cannot be written.

    An entry is in the file once and whole, or not at all: what a failed attempt left behind is
    cut off before the next one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._cut_at_bytes: int | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, and have them on disk on return.

        Raises:
            OSError: see `patience.patiently`.
        """
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        entries = "".join(lines).encode()
        patiently(lambda: self._append(entries), str(self._path))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the entries from a number on.

        Raises:
            OSError: see `patience.patiently`.
        """
        read = super().read_logs
        if log_number_from == 0:  # at the start, and maybe much
            yield from read(0)
        else:  # at once: entries that were read before a failure must not be given twice
            yield from patiently(lambda: list(read(log_number_from)), str(self._path))

    def _append(self, entries: bytes) -> None:
        self._lock.acquire()
        try:
            # not created: where a mount is gone, the file would be hidden once it is back
            descriptor = os.open(self._path, os.O_RDWR)
            try:
                self._write_whole(descriptor, entries)
            finally:
                with suppress(OSError):  # what was to be written is on disk by now
                    os.close(descriptor)
        finally:
            with suppress(RuntimeError):  # Optuna takes over a lock that was left behind
                self._lock.release()

    def _write_whole(self, descriptor: int, entries: bytes) -> None:
        if self._cut_at_bytes is not None:
            self._cut(descriptor, self._cut_at_bytes)
        size_bytes = os.fstat(descriptor).st_size
        num_written = 0
        try:
            while num_written < len(entries):  # a disk that fills up takes a part of them
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
    """Drop what follows the last newline: an entry whose writer died within it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
