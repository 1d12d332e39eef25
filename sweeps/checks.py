"""What can be checked of a sweep's trials before any of them runs. Knows nothing of Ray."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from patchtrain.errors import DataError
from sweeps.plan import Plan
from sweeps.results.inputs import Inputs

_KINDS = ("method", "backbone", "encoder", "precision", "patch_size")
"""Settings whose values may not go together."""


@dataclass(frozen=True)
class DataSizes:
    """What the trials of a sweep are trained and measured on."""

    num_train: int
    num_val: int
    inputs: Inputs


def check_trials(plan: Plan) -> DataSizes:
    """Check names, combinations of settings and the data set; return how large that is.

    Raises:
        ConfigError: a name is unknown, or settings do not go together.
        DataError: the data set is missing or damaged.
    """
    from patchtrain.datasets import load_dataset, smallest_side_px
    from patchtrain.trial_checks import check

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
    inputs = Inputs(data.identity, data.listed(), _hash_of_weights(space.base.weights))
    return DataSizes(len(data.train), len(data.val), inputs)


def _hash_of_weights(weights: str) -> str | None:
    """Return a hash of the file that backbones start from; None if it is no file."""
    if weights in ("none", "pretrained"):
        return None
    digest = hashlib.sha256()
    with Path(weights).expanduser().open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()[:16]
