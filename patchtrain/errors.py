"""The errors that a user can cause. Any other error, except running out of memory, is a bug.

Both carry one line that names the field or file, the value, the rule that it breaks and the remedy.
Running out of memory is a result of a trial, not a user's error: see `memory.exceeded`.
"""

from __future__ import annotations


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the type and the message of any error as one line of at most `most` characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


class ConfigError(Exception):
    """A setting is wrong. Raised before any work starts."""


class DataError(Exception):
    """A data set, image or label file is missing, damaged or inconsistent."""
