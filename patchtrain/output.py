"""Output that cannot end a run: a reader that went away, or a terminal of another encoding."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)
"""What writing to a closed pipe or terminal gives."""


class _Unbroken:
    """A text stream whose reader may go away: the rest is then written to nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _forgiving(self._stream):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _forgiving(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unbroken_output() -> Iterator[None]:
    """Context: printing to stdout and stderr raises no error, whatever becomes of their readers.

    Letters that the stream's encoding lacks are written as escapes.
    """
    before = sys.stdout, sys.stderr
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        if stream is None:  # a program without a console
            continue
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        setattr(sys, name, _Unbroken(stream))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def _forgiving(stream: TextIO) -> Iterator[None]:
    """Context: errors of writing to `stream` are ignored. If its reader went away, all further
    output goes nowhere; on a full disk, what is buffered is written once there is room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            return
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
