"""Waits while a folder of results cannot be written: a full disk, a file system that went away.

Knows nothing of the files.
"""

from __future__ import annotations

import errno
import math
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from patchtrain.errors import ConfigError

PATIENCE_VARIABLE = "PATCHTRAIN_STORAGE_PATIENCE_S"
"""Environment variable: how long to wait for the storage, in seconds; 0 does not wait."""

DEFAULT_PATIENCE_S = 3600.0

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 10.0

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

_PASSING = _NO_SPACE | {
    # a device that fails, or that the system made read-only after a failure
    errno.EIO,
    errno.EROFS,
    errno.ENXIO,
    errno.ENODEV,
    errno.EREMOTEIO,
    # a mount that went away leaves an empty folder, another user's folder, or stale handles
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ESTALE,
    errno.EACCES,
    errno.EPERM,
    # a file server that does not answer
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ESHUTDOWN,
    # a machine that is short of something at the moment
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.ENFILE,
    errno.EMFILE,
    errno.ENOLCK,
    errno.ENOMEM,
}

_NUMBER = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
"""How pyarrow and safetensors write the number of a system error in messages of their own."""

_TORCH = re.compile(r"inline_container|PytorchStreamWriter")
"""What torch's message contains when it cannot write a file; it does not say why."""

_Result = TypeVar("_Result")


def patience_s() -> float:
    """Return how long a write may wait, in seconds.

    Raises:
        ConfigError: the environment variable holds something else.
    """
    return seconds_in(PATIENCE_VARIABLE, DEFAULT_PATIENCE_S, "to wait for an hour")


def seconds_in(variable: str, default_s: float, unset: str) -> float:
    """Return the number of seconds in the environment variable `variable`.

    Args:
        unset: what leaving it unset does, for the message.

    Raises:
        ConfigError: it holds something else.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text or default_s)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ConfigError(
            f"{variable}={text!r} is not a number of seconds; give 0 or more, or leave it unset "
            f"{unset}"
        )
    return seconds


def patiently(
    write: Callable[[], _Result],
    what: str,
    *,
    limit_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Call `write` until it succeeds or fails for a reason that will not pass; return its result.

    Prints one line to stderr when it starts to wait, and one when it can write again.

    Args:
        write: must leave nothing behind when it raises, or start afresh when called again.
        what: what is written, such as a path, for the printed lines.
        limit_s: how long to keep trying, in seconds; None: `patience_s()`.
        clock: returns seconds.
        sleep: takes seconds.

    Raises:
        Exception: the last error of `write`: time is up, or the reason will not pass.
        ConfigError: see `patience_s`.
    """
    limit_s = patience_s() if limit_s is None else limit_s
    pause_s = _FIRST_PAUSE_S
    ends_at: float | None = None
    while True:
        try:
            result = write()
        except Exception as error:
            number = passing_error(error)
            now = clock()
            if number is None or limit_s <= 0 or (ends_at is not None and now >= ends_at):
                raise
            if ends_at is None:
                ends_at = now + limit_s
                _say(
                    f"{what} cannot be written ({os.strerror(number)}): {_advice(number, limit_s)}"
                )
            rest_s = ends_at - now
        else:
            if ends_at is not None:
                _say(f"{what} can be written again")
            return result
        sleep(min(pause_s, rest_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def passing_error(error: BaseException) -> int | None:
    """Return the system's number of a storage error that may pass; None if `error` is no such one.

    These are the `OSError`s listed above, and errors of libraries that mention one of them.
    """
    if isinstance(error, OSError) and error.errno is not None:
        number = error.errno
    elif found := _NUMBER.search(str(error)):
        number = int(found[1] or found[2])
    elif isinstance(error, RuntimeError) and _TORCH.search(str(error)):
        number = errno.EIO
    else:
        return None
    return number if number in _PASSING else None


def _advice(number: int, limit_s: float) -> str:
    remedy = "free some space" if number in _NO_SPACE else "bring it back"
    limit = f"{limit_s / 60:.0f} min" if limit_s >= 120 else f"{limit_s:.0f} s"
    return f"waiting for it, at most {limit}; {remedy}"


def _say(line: str) -> None:
    """Print to stderr, which may be a file on the same full disk."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
