"""A real file system of a few bytes, for what happens when it is full; needs the right to mount."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PIECE = bytes(64 * 1024)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Context: the new `folder` is a disk of `size_bytes`; skips the test where that is refused."""
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={size_bytes}")
    try:
        mounted = subprocess.run(
            ["mount", *options, "patchtrain-test", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no `mount` here to make a small disk with")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # lazy: a process that is ending may still hold a file of it
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Make the file `path` take what is left of its disk."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(_PIECE):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
