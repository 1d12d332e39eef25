"""The errors that a user can cause. Any other error, except running out of memory, is a bug.

Both carry one line that names the field or file, the value, the rule that it breaks and the remedy.
Running out of memory is a result of a trial, not a user's error: see `memory.exceeded`.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

_NO_RIGHT = (errno.EACCES, errno.EPERM)

_FAILING = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN, errno.EHOSTDOWN),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT, errno.ENODEV, errno.ENXIO),
)
"""What the system says of a file that may be all right."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the type and the message of any error as one line of at most `most` characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def some_of(names: Sequence[str], most: int = 10) -> str:
    """Return the first of `names`, and how many more there are."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def not_given(error: BaseException) -> str | None:
    """Return what to say of a file that the operating system would not give, so that its content is
    not to blame; None for any other error.
    """
    number = getattr(error, "errno", None)
    if not isinstance(error, OSError):
        return None
    if number in _NO_RIGHT:
        return f"may not be read ({error.strerror}); let the user who runs this read it"
    if number in _FAILING:
        return f"cannot be read at the moment ({error.strerror}); check its disk, then try again"
    return None


class ConfigError(Exception):
    """A setting is wrong. Raised before any work starts."""


class DataError(Exception):
    """A data set, image or label file is missing, damaged or inconsistent."""
