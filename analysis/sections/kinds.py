"""How a trial is marked in the plot of metric against memory, by how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from analysis.draw.charts import Mark
from analysis.text import NOT_TO_FIT
from patchtrain.record import TrialStatus


class Kind(str, Enum):
    """How a trial is marked."""

    DOMINATED = "dominated"
    REPLICATE = "replicate"
    STOPPED_EARLY = "stopped_early"
    OVER_BUDGET = "over_budget"
    FRONT = "front"
    OUT_OF_MEMORY = "out_of_memory"
    PREDICTED = "predicted_infeasible"


STRIP_KINDS = (Kind.OUT_OF_MEMORY, Kind.PREDICTED)
"""Kinds without a result: drawn in a strip under the plot, at their memory."""

MARKS: Mapping[Kind, tuple[str, Mark]] = {
    Kind.DOMINATED: ("completed, not on the front", Mark("square", "s", "other", 7)),
    Kind.REPLICATE: ("a repeat with another seed", Mark("circle-open", "o", "front", 8)),
    Kind.STOPPED_EARLY: ("stopped early", Mark("triangle-up-open", "^", "stopped")),
    Kind.OVER_BUDGET: ("completed over its budget", Mark("cross", "P", "over", 10)),
    Kind.FRONT: ("on the front", Mark("circle", "o", "front", 11)),
    Kind.OUT_OF_MEMORY: ("out of memory", Mark("x", "x", "over", 8)),
    Kind.PREDICTED: (NOT_TO_FIT, Mark("diamond-open", "D", "predicted")),
}
"""Kind -> legend text and look, from the lowest layer to the highest."""


def kind_of(row: Mapping[str, Any], on_front: bool) -> Kind | None:
    """Return how a trial is marked; None if it failed or its status is unknown here."""
    if row["status"] == TrialStatus.COMPLETED.value:
        peak, budget = row["peak_allocated_bytes"], row["budget_bytes"]
        if peak is not None and budget is not None and peak > budget:
            return Kind.OVER_BUDGET
        if row["group"] not in (None, row["trial_id"]):
            return Kind.REPLICATE
        return Kind.FRONT if on_front else Kind.DOMINATED
    return {
        TrialStatus.STOPPED_EARLY.value: Kind.STOPPED_EARLY,
        TrialStatus.OUT_OF_MEMORY.value: Kind.OUT_OF_MEMORY,
        TrialStatus.PREDICTED_INFEASIBLE.value: Kind.PREDICTED,
    }.get(row["status"])
