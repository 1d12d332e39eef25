"""Two runs against each other: what each reaches in every budget, and by how much they differ.

Knows nothing of files or of printing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.numbers.columns import GB, is_candidate, metrics, peaks
from analysis.numbers.selection import best_within
from analysis.pareto import epsilon_indicator
from analysis.runs.run import Run

ROUNDING = 1e-9
"""Rounding error of a difference of metrics: 0.69 - 0.70 is a little less than -0.01."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What two runs reach within one budget."""

    budget_bytes: int | None
    """None: no limit."""
    a: Mapping[str, Any] | None
    """The best trial of run A; None where nothing fits."""
    b: Mapping[str, Any] | None

    @property
    def gain(self) -> float | None:
        """Metric of B minus that of A; infinite if only one has a model, None if neither has."""
        if self.a is None or self.b is None:
            if self.a is self.b:
                return None
            return math.inf if self.a is None else -math.inf
        return float(self.b["metric"] - self.a["metric"])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Run B against run A."""

    differences: tuple[Difference, ...]
    epsilon_of_a: float
    """How far A's front is from covering B's, in metric and GB alike: see `epsilon_indicator`."""
    epsilon_of_b: float

    def is_worse(self, tolerance: float) -> bool:
        """Return whether B is worse than A by more than `tolerance` in any budget."""
        least = -tolerance - ROUNDING
        return any(each.gain is not None and each.gain < least for each in self.differences)


def compare(a: Run, b: Run, budgets_bytes: Sequence[int] = ()) -> Comparison:
    """Return how `b` differs from `a` in each budget: those given, else those of either run."""
    asked: list[int | None] = [*budgets_bytes]
    if not asked:
        asked = [*sorted({*a.budgets_bytes, *b.budgets_bytes})] or [None]
    return Comparison(
        differences=tuple(
            Difference(budget_bytes=each, a=best_within(a, each), b=best_within(b, each))
            for each in asked
        ),
        epsilon_of_a=epsilon_indicator(_front_points(a), _front_points(b), GB),
        epsilon_of_b=epsilon_indicator(_front_points(b), _front_points(a), GB),
    )


def _front_points(run: Run) -> tuple[np.ndarray, np.ndarray]:
    candidate = is_candidate(run)
    return metrics(run)[candidate], peaks(run)[candidate]
