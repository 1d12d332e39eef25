"""Early stopping within a budget: asynchronous successive halving, by metric or by metric and peak.

Knows nothing of studies and files. Tune's own ASHA has one objective and one pool for all budgets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.ranking import order

if TYPE_CHECKING:  # Ray is imported once its environment is set
    from ray.tune.schedulers import TrialScheduler

SCHEDULERS = ("none", "asha", "mo-asha")
"""Names of `--scheduler`."""

REDUCTION_FACTOR = 3
"""One in so many trials goes on at a rung. Li et al. 2020 (arXiv:1810.05934) use 3 and 4."""

MAX_RUNGS = 3
"""Rungs of a trial at most: below a 27th of its epochs a metric says little."""


@dataclass(frozen=True)
class Reached:
    """What a trial had to show at the end of one epoch."""

    trial_id: str
    budget_bytes: int | None
    epoch: int
    """1 for the first."""
    metric: float | None
    peak_bytes: float | None


def rungs(max_epochs: int, reduction_factor: int = REDUCTION_FACTOR) -> tuple[int, ...]:
    """Return the epochs, ascending, after which a trial of `max_epochs` has to be among the best.

    A trial that passes a rung trains `reduction_factor` times as long in all before the next.
    """
    epochs = {round(max_epochs / reduction_factor**number) for number in range(1, MAX_RUNGS + 1)}
    return tuple(sorted(epoch for epoch in epochs if 1 <= epoch < max_epochs))


class Halving:
    """Says which trials go on: those among the best 1/`reduction_factor` that reached a rung.

    Trials are compared with those under the same budget, as they were at that rung. A trial is
    judged when it gets there, by those that came before it, so no trial waits for another.

    Args:
        max_epochs: of a trial that goes to its end.
        by_peak: rank by metric and peak, else by metric alone.
        earlier: what trials of an earlier start of the sweep reached; in any order.
    """

    def __init__(
        self,
        max_epochs: int,
        *,
        by_peak: bool,
        earlier: Iterable[Reached] = (),
        reduction_factor: int = REDUCTION_FACTOR,
    ) -> None:
        self._rungs = rungs(max_epochs, reduction_factor)
        self._by_peak = by_peak
        self._reduction_factor = reduction_factor
        # (budget, rung) -> trial -> what is minimised; a trial that repeats epochs counts once
        self._points: dict[tuple[int | None, int], dict[str, tuple[float, ...]]] = {}
        for reached in earlier:
            self._add(reached)

    def goes_on(self, reached: Reached) -> bool:
        """Return whether the trial is worth its next epoch; remembers what it reached."""
        points = self._add(reached)
        if points is None:
            return True
        ids = list(points)
        num_best = math.ceil(len(ids) / self._reduction_factor)
        best = order(list(points.values()), num_best)
        return reached.trial_id in {ids[index] for index in best}

    def _add(self, reached: Reached) -> dict[str, tuple[float, ...]] | None:
        """Return what all trials have to show at this rung; None between rungs."""
        if reached.epoch not in self._rungs:
            return None
        points = self._points.setdefault((reached.budget_bytes, reached.epoch), {})
        metric = math.nan if reached.metric is None else -reached.metric
        peak = math.nan if reached.peak_bytes is None else reached.peak_bytes
        points[reached.trial_id] = (metric, peak) if self._by_peak else (metric,)
        return points


def make_scheduler(
    name: str, max_epochs: int, earlier: Iterable[Reached] = ()
) -> TrialScheduler | None:
    """Return the scheduler `name` of `SCHEDULERS`; None: every trial goes to its end."""
    if name == "none":
        return None
    return _tune_scheduler(Halving(max_epochs, by_peak=name == "mo-asha", earlier=earlier))


def _tune_scheduler(halving: Halving) -> TrialScheduler:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class Scheduler(FIFOScheduler):
        """Stops trials that `Halving` does not let go on."""

        def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping) -> str:
            """Return whether the trial goes on; one that ran out of memory ends by itself."""
            if not result["should_checkpoint"]:  # it finished no epoch, or has no other before it
                return TrialScheduler.CONTINUE
            reached = Reached(
                trial.config["trial_id"],
                trial.config["config"].budget,
                result["training_iteration"],
                result["metric"],
                result["peak_allocated_bytes"],
            )
            goes_on = halving.goes_on(reached)
            return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    return Scheduler()
