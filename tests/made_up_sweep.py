"""A sweep over a made-up memory law, as `sweeps.testing` has it, and what its studies hold."""

from __future__ import annotations

import itertools
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from sweeps.search.study import TRIAL_ID
from sweeps.testing import (
    LARGE,
    SMALL,
    SPACE,
    Predicted,
    Refusals,
    make_search,
    needed_bytes,
    predict,
    record_of,
    run_to_the_end,
    trials_of,
    tried_of,
)

__all__ = [
    "LARGE",
    "SMALL",
    "SPACE",
    "Predicted",
    "Refusals",
    "make_search",
    "needed_bytes",
    "points",
    "predict",
    "record_of",
    "run_to_the_end",
    "state_of",
    "trials_of",
    "tried_of",
]


def state_of(storage: BaseStorage, budget: int, trial_id: str) -> FrozenTrial | None:
    found = [t for t in trials_of(storage, budget) if t.user_attrs.get(TRIAL_ID) == trial_id]
    assert len(found) <= 1
    return found[0] if found else None


def points(num_points: int) -> list[dict[str, Any]]:
    """Some draws, spread over the space; the last ones cannot fit the small budget."""
    spread = list(itertools.islice(SPACE.points(), 0, None, 97))
    return sorted(spread, key=lambda params: needed_bytes(SPACE.config(params)))[:num_points]
