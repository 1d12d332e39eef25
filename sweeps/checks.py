"""What can be checked of a sweep's trials before any of them runs. Knows nothing of Ray."""

from __future__ import annotations

from dataclasses import dataclass

from patchtrain.errors import DataError
from sweeps.plan import Plan

_KINDS = ("method", "backbone", "encoder", "precision", "patch_size")
"""Settings whose values may not go together."""


@dataclass(frozen=True)
class DataSizes:
    """The number of images that the trials of a sweep have."""

    num_train: int
    num_val: int


def check_trials(plan: Plan) -> DataSizes:
    """Check names, combinations of settings and the data set; return how large that is.

    Raises:
        ConfigError: a name is unknown, or settings do not go together.
        DataError: the data set is missing or damaged.
    """
    from patchtrain.datasets import load_dataset, smallest_side_px
    from patchtrain.trainer import check

    space = plan.space
    for config in space.variants(_KINDS):
        check(config)
    *others, strictest = sorted(space.variants(("method", "patch_size")), key=smallest_side_px)
    data = load_dataset(strictest)  # reads every image once, and remembers what it found
    if data.num_skipped and others:
        num_small = data.num_skipped - load_dataset(others[0]).num_skipped
        if num_small:
            raise DataError(
                f"skip_bad_images=true: {num_small} images smaller than patch_size="
                f"{strictest.patch_size} would be left out of some trials but not of others; vary "
                "patch_size over smaller ones, or take these images out"
            )
    return DataSizes(len(data.train), len(data.val))
