"""What a trial reports to Tune, and what Tune hands to a trial: keys, and rows."""

from collections import UserDict

RECORD = "record"
"""Key of a result: the trial's record so far, as a row."""

EPOCH = "epoch"
"""Key of a result: the row of the epoch that it reports; None if no epoch was finished."""

CHECKPOINT = "checkpoint"
"""Key of a trial's Tune configuration: folder of a checkpoint to continue from, or None."""


class OpaqueRow(UserDict):
    """A row in a result. Tune keeps a history of every number in a `dict`, for every trial, as long
    as the sweep runs; it does not look into this.
    """
