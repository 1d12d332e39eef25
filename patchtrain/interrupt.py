"""Signals that end a run: as an exception between two batches, never in the middle of one.

Python raises KeyboardInterrupt wherever it happens to be. Within a callback of the memory meter it
would be printed and forgotten. So while a step runs, a signal only sets a flag.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_NOTE = b"\nstopping after this batch; once more ends at once\n"


class Stopped(KeyboardInterrupt):
    """The run was told to end by the signal `number`: Ctrl-C, `kill` or a terminal that closed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def what(self) -> str:
        """How it ended, for people."""
        return "interrupted" if self.number == signal.SIGINT else f"ended by {self}"

    @property
    def exit_status(self) -> int:
        """The status that shells give to a process that the signal ended."""
        return 128 + self.number


class _Flag:
    """The signal that arrived while it could not be raised, if any."""

    number: int | None = None
    last: int | None = None
    """The last signal that was raised."""
    is_deferring = False


_flag = _Flag()


@contextmanager
def stoppable(*, by_force: bool = False) -> Iterator[None]:
    """Context: SIGINT, SIGTERM and SIGHUP raise `Stopped`, unless someone else handles them.

    Args:
        by_force: take SIGTERM and SIGHUP from whoever handles them; a signal that is ignored, as
            SIGHUP under `nohup`, stays so.
    """
    _flag.last = None  # not that of an earlier run in this process
    with _handled(_raise, (signal.default_int_handler, signal.SIG_DFL), by_force=by_force):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Context: a first signal is raised by the next `check`, or at the end; a second one ends the
    process at once. Only signals that would raise an exception here are deferred.

    Raises:
        Stopped: a signal arrived.
    """
    if _flag.is_deferring:
        yield
        return
    _flag.is_deferring = True
    try:
        with _handled(_note, (signal.default_int_handler, _raise)):
            yield
    finally:
        _flag.is_deferring = False
        check()


def as_stopped(error: KeyboardInterrupt) -> Stopped:
    """Return `error` with the signal that caused it, which libraries may have lost on the way."""
    return error if isinstance(error, Stopped) else Stopped(_flag.last or signal.SIGINT)


def check() -> None:
    """Raise `Stopped` if a signal was deferred."""
    number, _flag.number = _flag.number, None
    if number is not None:
        raise Stopped(number)


@contextmanager
def _handled(
    handler: Any, instead_of: tuple[Any, ...], *, by_force: bool = False
) -> Iterator[None]:
    """Context: `handler` takes the signals that one of `instead_of` handles now."""
    if threading.current_thread() is not threading.main_thread():  # these never get signals
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [
        number
        for number in _SIGNALS
        if before[number] in instead_of
        or (by_force and number != signal.SIGINT and before[number] is not signal.SIG_IGN)
    ]
    for number in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _raise(number: int, frame: FrameType | None) -> None:
    _flag.last = number
    raise Stopped(number)


def _note(number: int, frame: FrameType | None) -> None:
    if _flag.number is not None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _flag.number = number
    os.write(2, _NOTE)
