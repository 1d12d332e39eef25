"""The file that keeps the search's studies: opened, and repaired after a kill."""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend


def open_storage(path: Path) -> BaseStorage:
    """Return the Optuna storage in the file `path`, repaired if its writer was killed.

    A journal (`optuna-dashboard PATH` reads it): appending is safe on network file systems,
    where SQLite's locks are not. Its caller must be the only writer.
    """
    if path.exists():
        _cut_torn_line(path)
        Path(f"{path}.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _cut_torn_line(path: Path) -> None:
    """Drop what follows the last newline: an entry whose writer died within it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
