"""A file system that stops or fails at its n-th change, in this process, and counts them.

Everything that Python does to files below a folder goes through here: data written, files made,
synced, cut, renamed and removed, folders made and removed. What a library writes by itself is not
seen, so Parquet files and weights are made in memory first.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch


class Died(BaseException):
    """The process was killed; nothing that it does afterwards reaches a file."""


DIES = "dies"
FAILS_ONCE = "fails once"
STAYS_BROKEN = "stays broken"
WAYS = (DIES, FAILS_ONCE, STAYS_BROKEN)
"""What happens at the n-th change: a kill, an error, or errors from then on."""


@dataclass
class FailingFiles:
    """The changes below `folder`, and where they stop.

    Attributes:
        folder: what is watched.
        stop_at: number of the change at which it happens, 0 for the first; None: never.
        way: one of `WAYS`. What was being written is then written to its half.
        error: number of the error that is raised.
        changes: what was done so far, as text.
        is_dead: whether the process was killed, until `revive`.
        is_off: whether changes are another process's, which do not count.
        at_death: what was there then, see `content_of`.
    """

    folder: Path
    stop_at: int | None = None
    way: str = DIES
    error: int = errno.ENOSPC
    changes: list[str] = field(default_factory=list)
    is_dead: bool = False
    is_off: bool = False
    at_death: dict[str, Any] = field(default_factory=dict)
    _files: list[io.IOBase] = field(default_factory=list)

    def change(self, what: str, path: Any, write_half: Callable[[], Any] | None = None) -> bool:
        """Count a change of `path`, unless it lies elsewhere; return whether it is to be made.

        Raises:
            Died: the process is dead, or dies here.
            OSError: the change fails.
        """
        inside = self._inside(path)
        if inside is None or self.is_off:
            return True
        if self.is_dead:
            if what == "write":  # what a dead process held in memory
                return False
            raise Died
        number = len(self.changes)
        self.changes.append(f"{what} {inside}")
        is_broken = self.way == STAYS_BROKEN and self.stop_at is not None and number > self.stop_at
        if number != self.stop_at and not is_broken:
            return True
        if write_half is not None and not is_broken:
            write_half()
        if self.way == DIES:
            self.die()
            raise Died
        raise OSError(self.error, os.strerror(self.error), str(path))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context: changes do not count, since another process makes them."""
        before, self.is_off = self.is_off, True
        try:
            yield
        finally:
            self.is_off = before

    def die(self) -> None:
        """Let go of all files, locks included, as the end of a process does."""
        self.is_dead = True
        for file in self._files:
            file.close()
        self._files.clear()
        self.at_death = content_of(self.folder)

    def revive(self) -> None:
        """Begin a new process on a file system that works."""
        self.is_dead, self.stop_at = False, None

    def _inside(self, path: Any) -> str | None:
        if hasattr(path, "fileno"):
            path = path.fileno()
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        absolute = Path(path).absolute()
        if not absolute.is_relative_to(self.folder):
            return None
        return str(absolute.relative_to(self.folder))

    def opened(self, path: Any, mode: str, **text: Any) -> Any:
        """Open a file for writing, as `open` does."""
        self.change("open", path)
        raw = _Raw(path, mode.replace("t", "").replace("b", ""), self)
        self._files.append(raw)
        kind = io.BufferedRandom if "+" in mode else io.BufferedWriter
        buffered = kind(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)


class _Raw(io.FileIO):
    def __init__(self, path: Any, mode: str, files: FailingFiles) -> None:
        super().__init__(path, mode)
        self._files, self._path = files, path

    def write(self, data: Any) -> int:
        held = bytes(data)
        write = super().write
        if self._files.change("write", self._path, lambda: write(held[: len(held) // 2])):
            return write(held)
        return len(held)


@contextmanager
def failing_files(folder: Path, **how: Any) -> Iterator[FailingFiles]:
    """Context: changes below `folder` are counted, and stop as `FailingFiles` says."""
    files = FailingFiles(folder.absolute(), **how)
    with pytest.MonkeyPatch.context() as patch:
        _watch_opening(patch, files)
        for name in ("replace", "rename", "link", "symlink"):  # the new name is the change
            _watch(patch, files, name, path_at=1)
        for name in ("unlink", "remove", "mkdir", "rmdir", "truncate", "ftruncate"):
            _watch(patch, files, name, path_at=0)
        patch.setattr(os, "fsync", lambda file: files.change("fsync", file))  # takes its time
        _watch_pwrite(patch, files)
        _watch_libraries(patch)
        yield files


def _watch_opening(patch: pytest.MonkeyPatch, files: FailingFiles) -> None:
    real, real_os = builtins.open, os.open

    def opened(
        file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any
    ) -> Any:
        if not set(mode) & set("wax+") or isinstance(file, int):
            return real(file, mode, buffering, *arguments, **options)
        if files._inside(file) is None or files.is_off:
            return real(file, mode, buffering, *arguments, **options)
        text = dict(zip(("encoding", "errors", "newline"), arguments, strict=False)) | options
        return files.opened(file, mode, **({} if "b" in mode else text))

    def os_opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            files.change("create", path)
        return real_os(path, flags, *arguments, **options)

    patch.setattr(builtins, "open", opened)
    patch.setattr(io, "open", opened)
    patch.setattr(os, "open", os_opened)


def _watch(patch: pytest.MonkeyPatch, files: FailingFiles, name: str, path_at: int) -> None:
    real = getattr(os, name)

    def watched(*arguments: Any, **options: Any) -> Any:
        path = arguments[path_at]
        if options.get("dir_fd") is not None:
            path = Path(f"/proc/self/fd/{options['dir_fd']}").readlink() / path
        files.change(name, path)
        return real(*arguments, **options)

    patch.setattr(os, name, watched)


def _watch_pwrite(patch: pytest.MonkeyPatch, files: FailingFiles) -> None:
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        half = data[: len(data) // 2]
        files.change("write", descriptor, lambda: real(descriptor, half, offset))
        return real(descriptor, data, offset)

    patch.setattr(os, "pwrite", pwrite)


def _watch_libraries(patch: pytest.MonkeyPatch) -> None:
    def through_memory(real: Callable[..., Any]) -> Callable[..., None]:
        def write(what: Any, where: Any, **options: Any) -> None:
            content = io.BytesIO()
            real(what, content, **options)
            Path(where).write_bytes(content.getvalue())

        return write

    def save_file(tensors: Any, where: Any) -> None:
        Path(where).write_bytes(safetensors.torch.save(tensors))

    patch.setattr(pq, "write_table", through_memory(pq.write_table))
    patch.setattr(torch, "save", through_memory(torch.save))
    patch.setattr("patchtrain.checkpoint.save_file", save_file)


def one_of_each_kind(changes: Sequence[str]) -> list[int]:
    """Return the number of one change of each kind and file, in the middle of those."""
    of_kind: dict[str, list[int]] = defaultdict(list)
    for number, change in enumerate(changes):
        of_kind[re.sub(r"lock[0-9a-f-]+|[0-9]+", "", change)].append(number)
    return [numbers[len(numbers) // 2] for numbers in of_kind.values()]


def content_of(folder: Path) -> dict[str, bytes | str | None]:
    """Return every file (its content), link (its target) and folder (None) below `folder`."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found
