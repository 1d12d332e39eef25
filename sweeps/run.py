"""The course of a sweep: check, connect, run Tune, report. Every sweep script ends in `main`.

Exit status: 0 done; 1 something went wrong
while running; 2 bad input, with one line on stderr and nothing written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError, DataError
from patchtrain.record import TrialRecord
from sweeps.options import parser
from sweeps.placement import cluster
from sweeps.plan import Plan, make_plan
from sweeps.presets import Sweep
from sweeps.progress import Progress, say, say_known, say_resumed, say_searched, say_start
from sweeps.results.records import infeasible_record
from sweeps.results.store import RunFolder
from sweeps.search.prediction import Prediction, Predictor, check_budgets
from sweeps.tracking.trackers import tracker_callbacks

if TYPE_CHECKING:  # Ray is imported once its environment is set, and not for bad input
    from optuna.storages import BaseStorage
    from ray.tune.schedulers import TrialScheduler

    from sweeps.placement.placement import Placement
    from sweeps.search.budget_search import BudgetSearch, Suggestion
    from sweeps.search.scheduler import Reached
    from sweeps.search.searcher import StatelessSearcher

MIN_WAITING = 4
"""Trials that may wait for room on a cluster that grows: they are what it grows for."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Run the sweep that the command line asks for; return the exit status."""
    cluster.quieten()
    folder = None
    try:
        options = parser(sweep).parse_args(arguments)
        plan = make_plan(sweep, options)
        folder = RunFolder(plan.out)
        folder.check(options.resume, plan.description())
        data = check_trials(plan)
        say_start(plan)
        with cluster.connected(options.address) as is_ours:
            run(plan, folder, data, cluster_may_grow=not is_ours)
    except (ConfigError, DataError) as error:
        print(" ".join(f"{sweep.name}: {error}".split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped{_how_to_go_on(folder, arguments)}", flush=True)
        return INTERRUPTED
    except Exception as error:
        print(
            " ".join(f"{sweep.name}: {type(error).__name__}: {error}".split()),
            file=sys.stderr,
        )
        print(f"what is finished is kept{_how_to_go_on(folder, arguments)}", flush=True)
        return 1
    _report(plan.out)
    return 0


def run(plan: Plan, folder: RunFolder, data: DataSizes, *, cluster_may_grow: bool = False) -> None:
    """Run what is left of the sweep on the connected cluster.

    Args:
        data: how many images trials have.
        cluster_may_grow: whether trials without room bring new nodes.

    Raises:
        ConfigError: a budget cannot be placed or holds nothing, or the folder is in use; nothing
            has been started.
    """
    from sweeps.placement import placement
    from sweeps.search.budget_search import BudgetSearch
    from sweeps.search.replicates import Replicates, describe_groups
    from sweeps.search.scheduler import make_scheduler

    base = plan.space.base
    room = placement.survey(plan.gpu_memory_bytes, folder.gpus_path, asks_gpus=base.device != "cpu")
    places = placement.Placement(base, plan.budgets_bytes, room)
    places.check_fits(may_grow=cluster_may_grow)
    predict = Predictor(data.num_train, data.num_val, places.device)
    check_budgets(plan.space, plan.budgets_bytes, predict)
    folder.open(plan.description())
    try:
        placement.remember(room, folder.gpus_path)
        progress = Progress(plan, folder.records())

        def refuse(suggestion: Suggestion, prediction: Prediction | ConfigError) -> TrialRecord:
            config = plan.space.config(suggestion.params, suggestion.budget_bytes)
            record = infeasible_record(config, suggestion.trial_id, plan.sweep, prediction)
            folder.add_config(record.trial_id, config)
            folder.add_record(record)
            progress(record)
            return record

        search = BudgetSearch(
            plan.space,
            plan.budgets_bytes,
            num_trials=plan.num_trials,
            sweep=plan.sweep,
            storage=_storage(folder),
            finished=folder.records(),
            seed=plan.seed,
            checkpoints=folder.checkpoints(),
            sampler=plan.sampler,
            predict=predict,
            refuse=refuse,
            first=plan.first,
            known=[record for known in plan.known for record in known.on(places.device)],
        )
        say_known(plan, places.device)
        say_resumed(progress.num_launched, len(search.cut_off))
        max_concurrent = plan.max_concurrent
        if max_concurrent is None and not cluster_may_grow:
            # a trial that waits was proposed knowing less than it could have
            max_concurrent = max(1, places.num_slots())
        course = _Course(plan, folder, places, progress, max_concurrent)
        if search.num_to_run:
            earlier = _reached(folder, search)
            course.run(search, make_scheduler(plan.scheduler, base.epochs, earlier))
        say_searched(plan, progress, search.used_up)
        if plan.num_seeds > 1:
            replicates = Replicates(
                plan.space,
                folder.records(),
                num_seeds=plan.num_seeds,
                sweep=plan.sweep,
                checkpoints=folder.checkpoints(),
            )
            if replicates.num_to_run:
                course.run(replicates, None)
            for line in describe_groups(folder.records()):
                say(line)
    finally:
        folder.close()


def _storage(folder: RunFolder) -> BaseStorage:
    """Return the storage of the studies.

    Raises:
        ConfigError: it is damaged.
    """
    from sweeps.results.journal import open_storage

    try:
        return open_storage(folder.journal_path)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"{folder.journal_path}: is damaged ({' '.join(str(error).split())[:120]}); the trials "
            f"that ended are whole: give another --out and --warm-start {folder.path}"
        ) from None


def _reached(folder: RunFolder, search: BudgetSearch) -> Iterator[Reached]:
    """Yield what the trials of earlier starts had to show after each of their epochs."""
    from sweeps.search.scheduler import Reached

    budgets = {r.trial_id: r.budget_bytes for r in folder.records() if not r.is_replicate}
    budgets |= {trial.trial_id: trial.budget_bytes for trial in search.cut_off}
    for row in folder.epochs():
        if row["trial_id"] in budgets:
            yield Reached(
                row["trial_id"],
                budgets[row["trial_id"]],
                row["epoch"],
                row["metric"],
                row["peak_allocated_bytes"],
            )


@dataclass(frozen=True)
class _Course:
    """What all runs of Tune in one sweep have in common."""

    plan: Plan
    folder: RunFolder
    places: Placement
    progress: Progress
    max_concurrent: int | None

    def run(self, search: StatelessSearcher, scheduler: TrialScheduler | None) -> None:
        """Run the trials of `search` to their ends."""
        from ray import tune

        from sweeps.results.recorder import MAX_WORKER_DEATHS, Recorder
        from sweeps.trainable import BudgetTrainable

        # so many workers may start at a time; Tune's default is one after the other
        num_starting = self.max_concurrent or max(self.places.num_slots(), MIN_WAITING)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(num_starting)
        # Tune's own state is never read here, and writing it costs more with every trial
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"
        places = self.places  # Tune pickles what computes resources, and this folder cannot be
        tuner = tune.Tuner(
            tune.with_resources(
                BudgetTrainable,
                lambda trial: tune.PlacementGroupFactory(
                    [places.resources(trial["config"].budget)]
                ),
            ),
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
                    Recorder(self.folder, search, self.progress),
                    *tracker_callbacks(self.plan.tracker, sweep=self.plan.sweep, out=self.plan.out),
                ],
                # `num_to_keep` would have Tune write its state with every checkpoint; `folder`
                # removes the older ones
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if not search.is_done:
                raise
            # every row is written: what Tune then fails to write or to read back is not needed


@dataclass(frozen=True)
class DataSizes:
    """How many images the trials of a sweep have."""

    num_train: int
    num_val: int


_KINDS = ("method", "backbone", "encoder", "precision", "patch_size")
"""Settings whose values may not go together."""


def check_trials(plan: Plan) -> DataSizes:
    """Check what can be checked of the trials before any of them runs.

    Raises:
        ConfigError: an unknown name, a setting that does not fit.
        DataError: the data set is not there or damaged.
    """
    from patchtrain.datasets import load_dataset, smallest_side_px
    from patchtrain.trainer import check

    space = plan.space
    for config in space.variants(_KINDS):
        check(config)
    *others, strictest = sorted(space.variants(("method", "patch_size")), key=smallest_side_px)
    data = load_dataset(strictest)  # reads every image once; what it finds is kept
    if data.num_skipped and others:
        num_small = data.num_skipped - load_dataset(others[0]).num_skipped
        if num_small:
            raise DataError(
                f"skip_bad_images=true: {num_small} images smaller than patch_size="
                f"{strictest.patch_size} would be left out of some trials and not of others; vary "
                "patch_size over smaller ones, or take these images out"
            )
    return DataSizes(len(data.train), len(data.val))


def _report(out: Path) -> None:
    """Print best per budget and the report's path; the sweep stands without."""
    paths = filter(None, (str(cluster.ROOT), os.environ.get("PYTHONPATH")))
    command = [sys.executable, "-m", "analysis", "report", str(out)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    if done.returncode != 0:
        print(
            f"the sweep is done, its report failed; again: python -m analysis report {out}",
            file=sys.stderr,
        )


def _how_to_go_on(folder: RunFolder | None, arguments: Sequence[str] | None) -> str:
    """Return, as text, the command that goes on; none where nothing was begun."""
    if folder is None or not folder.is_begun:
        return ""
    words = [*sys.argv[:1], *(sys.argv[1:] if arguments is None else arguments)]
    command = shlex.join(["python", *words, *([] if "--resume" in words else ["--resume"])])
    return f"; go on with: {command}"
