"""The errors that a user can cause; everything else but a full device is a bug.

Both carry one line that names the field or file, the value, the rule that it breaks and the remedy.
Memory that ran out is a result of a trial, not an error of the user: `memory.exceeded`.
"""

from __future__ import annotations


class ConfigError(Exception):
    """A setting is wrong. Raised before any work starts."""


class DataError(Exception):
    """A data set, image or label file is missing, damaged or inconsistent."""
