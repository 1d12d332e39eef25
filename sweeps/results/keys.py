"""Keys of what a trial reports to Tune, and of what Tune hands to a trial."""

RECORD = "record"
"""Key of a result: the trial's record so far, as a row."""

EPOCH = "epoch"
"""Key of a result: the row of the epoch that it reports; None if no epoch was finished."""

CHECKPOINT = "checkpoint"
"""Key of a trial's Tune configuration: folder of a checkpoint to continue from, or None."""
