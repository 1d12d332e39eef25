"""Early stopping within a budget: asynchronous successive halving, by metric or by metric and peak.

Tune's own ASHA has one objective and one pool for all budgets. Knows nothing of studies and files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from patchtrain.errors import ConfigError
from sweeps.search.ranking import order

if TYPE_CHECKING:  # Ray is imported once its environment is set
    from ray.tune.schedulers import TrialScheduler

REDUCTION_FACTOR = 3
"""At a rung one in this many trials goes on. Li et al. 2020 (arXiv:1810.05934) use 3 and 4."""

MAX_RUNGS = 3
"""Most rungs of a trial: before a 27th of its epochs a metric says little."""


@dataclass(frozen=True)
class Reached:
    """What a trial had reached at the end of one epoch."""

    trial_id: str
    budget_bytes: int | None
    epoch: int
    """1 is the first."""
    metric: float | None
    peak_bytes: float | None


def rungs(max_epochs: int, reduction_factor: int = REDUCTION_FACTOR) -> tuple[int, ...]:
    """Return the epochs, ascending, after which a trial of `max_epochs` must be among the best.

    Each rung is `reduction_factor` times as many epochs as the one before.
    """
    epochs = {round(max_epochs / reduction_factor**number) for number in range(1, MAX_RUNGS + 1)}
    return tuple(sorted(epoch for epoch in epochs if 1 <= epoch < max_epochs))


class Halving:
    """Decides which trials go on: the best 1/`reduction_factor` of those that reached a rung.

    Trials are compared with others under the same budget, as these were at that rung. A trial is
    judged when it gets there, by those that came before it, so no trial waits for another.

    Args:
        max_epochs: epochs of a trial that is not stopped.
        by_peak: whether to rank by metric and peak, not by metric alone.
        earlier: what trials reached when the sweep ran before; in any order.
        reduction_factor: at a rung one in this many trials goes on.
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
        # (budget, rung) -> trial -> objectives, minimised; a trial that repeats epochs counts once
        self._points: dict[tuple[int | None, int], dict[str, tuple[float, ...]]] = {}
        for reached in earlier:
            self._add(reached)

    def goes_on(self, reached: Reached) -> bool:
        """Return whether the trial should go on; remembers what it reached."""
        points = self._add(reached)
        if points is None:
            return True
        ids = list(points)
        num_best = math.ceil(len(ids) / self._reduction_factor)
        best = order(list(points.values()), num_best)
        return reached.trial_id in {ids[index] for index in best}

    def _add(self, reached: Reached) -> dict[str, tuple[float, ...]] | None:
        """Return the objectives of all trials at this rung; None between rungs."""
        if reached.epoch not in self._rungs:
            return None
        points = self._points.setdefault((reached.budget_bytes, reached.epoch), {})
        metric = math.nan if reached.metric is None else -reached.metric
        peak = math.nan if reached.peak_bytes is None else reached.peak_bytes
        points[reached.trial_id] = (metric, peak) if self._by_peak else (metric,)
        return points


_MAKERS: Mapping[str, Callable[[int, Iterable[Reached]], Halving] | None] = {
    "none": None,
    "asha": lambda max_epochs, earlier: Halving(max_epochs, by_peak=False, earlier=earlier),
    "mo-asha": lambda max_epochs, earlier: Halving(max_epochs, by_peak=True, earlier=earlier),
}

SCHEDULERS = tuple(_MAKERS)
"""Names of `--scheduler`."""


def check_scheduler(name: str) -> None:
    """Check that there is a scheduler `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in _MAKERS:
        raise ConfigError(f"--scheduler {name}: unknown; use one of {', '.join(SCHEDULERS)}")


def make_scheduler(
    name: str, max_epochs: int, earlier: Iterable[Reached] = ()
) -> TrialScheduler | None:
    """Return the scheduler `name`, one of `SCHEDULERS`; None: no trial is stopped early."""
    maker = _MAKERS[name]
    return None if maker is None else _tune_scheduler(maker(max_epochs, earlier))


def _tune_scheduler(halving: Halving) -> TrialScheduler:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class Scheduler(FIFOScheduler):
        """Stops the trials that should not go on."""

        def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping) -> str:
            """Return Tune's word for going on or stopping."""
            if not result["should_checkpoint"]:  # no epoch was finished, or this was the last one
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
