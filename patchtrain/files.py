"""Files that appear whole or not at all, and whether a folder can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from patchtrain.errors import ConfigError


def check_writable(folder: Path) -> None:
    """Try to write where `folder` is or will be; leaves nothing behind.

    Looking at permissions is not enough: root may do anything, but not on a read-only disk.

    Raises:
        ConfigError: it cannot be written; names `--out`, the folder and the reason.
    """
    try:
        nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    except OSError as error:  # a name too long, or a folder that may not be entered
        raise ConfigError(f"--out {folder}: {error.strerror}; give another folder") from None
    if not nearest.is_dir():
        raise ConfigError(f"--out {folder}: {nearest} is a file; give another folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".patchtrain-", dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(
            f"--out {folder} cannot be written ({nearest}: {error.strerror}); give another folder"
        ) from None


class atomic_path:
    """Context: a temporary file next to `path` that replaces it if the block raises no error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)
