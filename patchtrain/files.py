"""Files that appear whole or not at all, and whether a folder can be written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from patchtrain.errors import ConfigError


def check_writable(folder: Path) -> None:
    """Try to write where `folder` is or will be; leaves nothing behind.

    Looking at permissions is not enough: root may do anything, but not on a read-only disk.

    Raises:
        ConfigError: it cannot be written; names `--out`, the folder and the reason.
    """
    check_local(folder)
    try:
        nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    except OSError as error:  # a name too long, or a folder that may not be entered
        raise ConfigError(f"--out {folder}: {error.strerror}; give another folder") from None
    if not nearest.is_dir():
        raise ConfigError(f"--out {folder}: {nearest} is a file; give another folder")
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".probe.{os.getpid()}.", suffix=".tmp", dir=nearest
        ):
            pass
    except OSError as error:
        raise ConfigError(
            f"--out {folder} cannot be written ({nearest}: {error.strerror}); give another folder"
        ) from None


def check_local(path: Path) -> None:
    """Refuse a URI such as `s3://bucket/run`, which would become the folder `s3:`.

    Raises:
        ConfigError: names `--out` and the path.
    """
    first = path.parts[0] if path.parts else ""
    if _SCHEME.fullmatch(first) and not Path(first).exists():
        raise ConfigError(
            f"--out {path}: is a URI ({first}//...), which cannot be written; give a local or "
            "mounted folder, and copy it there afterwards"
        )


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def check_replaceable(path: Path) -> None:
    """Refuse to put a file where something else is, such as a device or a folder.

    Raises:
        ConfigError: names `--out` and the path.
    """
    if _is_something_else(path):
        raise ConfigError(f"--out {path}: is there and is no ordinary file; give another path")


def _is_something_else(path: Path) -> bool:
    return path.exists() and not path.is_file()


def leftovers(folder: Path, name: str) -> Iterator[Path]:
    """Yield the temporary files that killed processes left of writing `name`, see `atomic_path`,
    and of `check_writable`.

    Args:
        folder: is searched.
        name: path of the file within `folder`; `*` stands for any name.
    """
    parent, _, last = name.rpartition("/")
    yield from folder.glob(f"{parent}/.{last}.[0-9]*.tmp".lstrip("/"))


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove the `leftovers` of files that no other process may be writing."""
    for name in names:
        for leftover in leftovers(folder, name):
            with suppress(OSError):
                leftover.rmdir() if leftover.is_dir() else leftover.unlink()


class atomic_path:
    """Context: a temporary file next to `path` that replaces it if the block raises no error.

    Raises:
        FileExistsError: a device, a folder or the like is at `path`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        if _is_something_else(self._path):
            raise FileExistsError(errno.EEXIST, "is there and is no ordinary file", str(self._path))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        if error_type is None:
            self._temporary.replace(self._path)
            return
        self._temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(self._path)  # which writers of a full disk do not name
