"""`Course`: runs the trials of a search with Tune, and has their results written.

Imported once the environment that Ray reads is set, see `cluster.quieten`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from patchtrain.record import TrialRecord
from sweeps.placement.placement import Placement
from sweeps.placement.watch import PATIENCE_S, PATIENCE_TO_GROW_S, NodeWatch
from sweeps.plan import Plan
from sweeps.results.forget import Forget
from sweeps.results.recorder import MAX_WORKER_DEATHS, Recorder
from sweeps.results.stop import grace_s
from sweeps.results.store import RunFolder
from sweeps.search.searcher import StatelessSearcher
from sweeps.tracking.trackers import tracker_callbacks
from sweeps.trainable import BudgetTrainable

MIN_WAITING = 4
"""Trials that may wait for room on a cluster that grows: they are what it grows for."""


@dataclass(frozen=True)
class Course:
    """What all runs of Tune in one sweep share."""

    plan: Plan
    folder: RunFolder
    places: Placement
    announce: Callable[[TrialRecord], None]
    """Called with each trial that ended."""
    max_concurrent: int | None
    """Most trials at the same time; None: as many as the cluster has room for."""
    starts_nodes: bool = False
    """Whether the cluster starts nodes of its own when there is no room."""
    trainable: type[tune.Trainable] = BudgetTrainable
    """What runs a trial."""

    def run(self, search: StatelessSearcher, scheduler: TrialScheduler | None) -> None:
        """Run the trials of `search` to their ends."""
        # this many workers may start at the same time; Tune's default is one after the other
        num_starting = self.max_concurrent or max(self.places.num_slots(), MIN_WAITING)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(num_starting)
        # nobody reads Tune's own state here, and writing it costs more with every trial
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"
        recorder = Recorder(self.folder, search, self.announce)
        watch = NodeWatch(
            [self.places.resources(budget) for budget in self.plan.budgets_bytes],
            ray.nodes,
            PATIENCE_TO_GROW_S if self.starts_nodes else PATIENCE_S,
        )
        tuner = tune.Tuner(
            self._trainable(),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=search.num_to_run,
                max_concurrent_trials=self.max_concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.config["trial_id"],
            ),
            run_config=tune.RunConfig(
                name=self.folder.next_start(),
                storage_path=str(self.folder.tune_path),
                callbacks=[
                    recorder,
                    watch,
                    *tracker_callbacks(self.plan.tracker, sweep=self.plan.sweep, out=self.plan.out),
                    Forget(),
                ],
                # `num_to_keep` would make Tune write its state with every checkpoint; `folder`
                # removes the older ones
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            self._save_running(recorder.running)
            raise
        except Exception:
            unfinished = recorder.unfinished or watch.unfinished
            if unfinished is not None:
                raise unfinished from None
            if not search.is_done:
                raise
            # every row is written: what Tune then fails to write or to read back is not needed

    def _save_running(self, trial_ids: Collection[str]) -> None:
        """Give the running trials the time to save what they have trained."""
        if not trial_ids:
            return
        print(
            f"\nthe trials that run ({len(trial_ids)}) save what they have trained, for up to "
            f"{grace_s():g} s; once more ends at once",
            flush=True,
        )

        def flush() -> None:
            with suppress(OSError):
                self.folder.flush(waits=False)  # this process may be killed before they saved

        with suppress(OSError):  # then they go on from their last whole epoch
            num_saved = self.folder.stop.save(trial_ids, flush)
            print(f"{num_saved} of {len(trial_ids)} saved", flush=True)

    def _trainable(self) -> Any:
        places = self.places  # Tune pickles the function, and `self.folder` cannot be pickled
        return tune.with_resources(
            self.trainable,
            lambda trial: tune.PlacementGroupFactory([places.resources(trial["config"].budget)]),
        )
