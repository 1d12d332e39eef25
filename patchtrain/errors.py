"""The errors that a user can cause. Any other error, except running out of memory, is a bug.

Both carry one line that names the field or file, the value, the rule that it breaks and the remedy.
Running out of memory is a result of a trial, not a user's error: see `memory.exceeded`.
"""

from __future__ import annotations


class ConfigError(Exception):
    """A setting is wrong. Raised before any work starts."""


class DataError(Exception):
    """A data set, image or label file is missing, damaged or inconsistent."""
