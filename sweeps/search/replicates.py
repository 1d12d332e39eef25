"""`Replicates`: the Pareto front trained again with more seeds. Knows nothing of studies."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.units import format_bytes
from sweeps.search.ranking import non_dominated_rank
from sweeps.search.searcher import StatelessSearcher
from sweeps.search.space import Space


def front(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the completed trials on the Pareto front of metric and peak, least memory first.

    Replicates do not count.
    """
    candidates = [
        record
        for record in records
        if record.status is TrialStatus.COMPLETED
        and not record.is_replicate
        and record.metric is not None
        and math.isfinite(record.metric)
        and record.peak_allocated_bytes
    ]
    if not candidates:
        return []
    points = [(-(r.metric or 0.0), r.peak_allocated_bytes or 0) for r in candidates]
    ranks = non_dominated_rank(points)
    best = [r for r, rank in zip(candidates, ranks, strict=True) if rank == 0]
    return sorted(best, key=lambda r: (r.peak_allocated_bytes, r.trial_id))


class Replicates(StatelessSearcher):
    """Runs each configuration of the front with `num_seeds - 1` more seeds.

    These seeds follow that of the sweep. The id of a replicate consists of the id of its trial and
    the seed, so a replicate whose row is written never runs again.

    Args:
        space: space of the sweep.
        records: all trials that have ended so far.
        num_seeds: how many seeds each configuration of the front is to have.
        sweep: name of the sweep.
        checkpoints: trial id -> folder that a replicate which was cut off continues from.
    """

    def __init__(
        self,
        space: Space,
        records: Sequence[TrialRecord],
        *,
        num_seeds: int,
        sweep: str,
        checkpoints: Mapping[str, str],
    ) -> None:
        super().__init__()
        ended = {record.trial_id for record in records}
        self._queue: deque[dict[str, Any]] = deque()
        self.num_configurations = 0
        for record in front(records):
            self.num_configurations += 1
            config = space.config(space.params(record), record.budget_bytes)
            for seed in range(config.seed + 1, config.seed + num_seeds):
                trial_id = f"{record.trial_id}-s{seed}"
                if trial_id in ended:
                    continue
                self._queue.append(
                    {
                        "trial_id": trial_id,
                        "sweep": sweep,
                        "group": record.trial_id,
                        "config": dataclasses.replace(config, seed=seed),
                        "checkpoint": checkpoints.get(trial_id),
                    }
                )
        self.num_to_run = len(self._queue)
        self._num_running = 0

    @property
    def is_done(self) -> bool:
        """Whether every replicate has ended."""
        return not self._queue and not self._num_running

    def tell(self, record: TrialRecord) -> None:
        """Count a replicate that ended."""
        self._num_running -= 1

    def put_off(self, record: TrialRecord) -> None:
        """Count a replicate that a later start tries again."""
        self._num_running -= 1

    def suggest(self, trial_id: str) -> dict[str, Any] | Any:
        """Return the next replicate as `BudgetTrainable` takes it, or FINISHED."""
        if not self._queue:
            return self.FINISHED
        self._num_running += 1
        return self._queue.popleft()


def describe_groups(records: Sequence[TrialRecord]) -> list[str]:
    """Return a line for each front configuration: metric over the seeds, and highest peak."""
    lines = []
    for first in front(records):
        group = [
            r
            for r in records
            if (r.group or r.trial_id) == first.trial_id and r.status is TrialStatus.COMPLETED
        ]
        metrics = [r.metric for r in group if r.metric is not None and math.isfinite(r.metric)]
        if len(metrics) < 2:
            continue
        peak = max(r.peak_allocated_bytes or 0 for r in group)
        lines.append(
            f"trial {first.trial_id}: {first.metric_name} {statistics.mean(metrics):.3f} "
            f"(sd {statistics.stdev(metrics):.3f}, {min(metrics):.3f} to {max(metrics):.3f}, "
            f"{len(metrics)} seeds), peak {format_bytes(peak)}"
        )
    return lines
