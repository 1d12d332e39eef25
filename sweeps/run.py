"""The course of a sweep: check, connect, run Tune, report. Every sweep script ends in `main`.

Exit status: 0 done; 1 something went wrong
while running; 2 bad input, with one line on stderr and nothing written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError, DataError
from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.units import format_bytes
from sweeps import cluster
from sweeps.plan import Plan, Sweep, make_plan, parser
from sweeps.store import RunFolder

if TYPE_CHECKING:  # Ray is imported once its environment is set, and not for bad input
    from sweeps.placement import Placement
    from sweeps.search import BudgetSearch

MAX_WORKER_DEATHS = 1
"""Deaths of its worker that a trial survives, going on from its last checkpoint."""

MIN_WAITING = 4
"""Trials that may wait for room on a cluster that grows: they are what it grows for."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Run the sweep that the command line asks for; return the exit status."""
    cluster.quieten()
    try:
        options = parser(sweep).parse_args(arguments)
        plan = make_plan(sweep, options)
        folder = RunFolder(plan.out)
        folder.check(options.resume, plan.description())
        _check_trials(plan)
        _print_start(plan)
        with cluster.connected(options.address) as is_ours:
            run(plan, folder, cluster_may_grow=not is_ours)
    except (ConfigError, DataError) as error:
        print(" ".join(f"{sweep.name}: {error}".split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: {_resume_command(arguments)}", flush=True)
        return INTERRUPTED
    except Exception as error:
        print(
            " ".join(f"{sweep.name}: {type(error).__name__}: {error}".split()),
            file=sys.stderr,
        )
        print(
            f"what is finished is kept; go on with: {_resume_command(arguments)}",
            flush=True,
        )
        return 1
    _report(plan.out)
    return 0


def run(plan: Plan, folder: RunFolder, *, cluster_may_grow: bool = False) -> None:
    """Run what is left of the sweep on the connected cluster.

    Args:
        cluster_may_grow: whether trials without room bring new nodes.

    Raises:
        ConfigError: a budget cannot be placed, or the folder is in use; nothing has been started.
    """
    from sweeps import placement
    from sweeps.journal import open_storage
    from sweeps.search import BudgetSearch

    room = placement.survey(plan.gpu_memory_bytes)
    places = placement.Placement(plan.space.base, plan.budgets_bytes, room)
    folder.open(plan.description())
    try:
        search = BudgetSearch(
            plan.space,
            plan.budgets_bytes,
            num_trials=plan.num_trials,
            sweep=plan.sweep,
            storage=open_storage(folder.journal_path),
            finished=folder.records(),
            seed=plan.seed,
            checkpoints=folder.checkpoints(),
        )
        _print_resumed(len(folder.records()), search.num_cut_off)
        if search.num_to_run:
            max_concurrent = plan.max_concurrent
            if max_concurrent is None and not cluster_may_grow:
                # a trial that waits was proposed knowing less than it could have
                max_concurrent = max(1, places.num_slots())
            _tune(plan, folder, search, places, max_concurrent)
    finally:
        folder.close()


def _tune(
    plan: Plan,
    folder: RunFolder,
    search: BudgetSearch,
    places: Placement,
    max_concurrent: int | None,
) -> None:
    from ray import tune

    from sweeps.recorder import Recorder
    from sweeps.trainable import BudgetTrainable

    # so many workers may start at a time; Tune's default is one after the other
    num_starting = max_concurrent or max(places.num_slots(), MIN_WAITING)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(num_starting)
    # Tune's own state is never read here, and writing it costs more with every trial
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"
    progress = _Progress(len(folder.records()), plan.num_trials)
    tuner = tune.Tuner(
        tune.with_resources(
            BudgetTrainable,
            lambda trial: tune.PlacementGroupFactory([places.resources(trial["config"].budget)]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=search.num_to_run,
            max_concurrent_trials=max_concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["trial_id"],
        ),
        run_config=tune.RunConfig(
            name=folder.next_start(),
            storage_path=str(folder.tune_path),
            callbacks=[Recorder(folder, search, progress)],
            # `num_to_keep` would have Tune write its state with every checkpoint; `folder` removes
            # the older ones
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except Exception:
        if not progress.is_done:
            raise
        # every row is written: what Tune then fails to write or to read back is not needed


class _Progress:
    """Prints one line per finished trial."""

    def __init__(self, num_done: int, num_trials: int) -> None:
        self._num_done = num_done
        self._num_trials = num_trials

    @property
    def is_done(self) -> bool:
        """Whether no trial is missing."""
        return self._num_done >= self._num_trials

    def __call__(self, record: TrialRecord) -> None:
        self._num_done += 1
        with suppress(OSError):  # it may go to a file on a full disk, which gets it later
            print(f"[{self._num_done}/{self._num_trials}] {_line(record)}", flush=True)


def _line(record: TrialRecord) -> str:
    settings = (
        f"patch {record.patch_size}, S {record.sampling_rate:.3g}, J {record.inner_iterations}, "
        f"{record.fusion}"
    )
    peak = format_bytes(record.peak_allocated_bytes)
    metric = "unknown" if record.metric is None else f"{record.metric:.3f}"
    what = {
        TrialStatus.OUT_OF_MEMORY: f"it came to {peak}",
        TrialStatus.FAILED: " ".join((record.error or "").split())[:160],
    }.get(record.status, f"{record.metric_name} {metric}, peak {peak}")
    status = record.status.value.replace("_", " ")
    budget = format_bytes(record.budget_bytes)
    return f"trial {record.trial_id} ({settings}) in {budget}: {status}, {what}"


def _print_start(plan: Plan) -> None:
    base = plan.space.base
    if base.data_dir is None:
        print(
            "SAMPLE DATA: no --data-dir given, so trials train on small generated slides; "
            "the results say nothing about the real data set",
            flush=True,
        )
    budgets = ", ".join(format_bytes(budget) for budget in plan.budgets_bytes)
    print(
        f"{plan.sweep}: {plan.num_trials} trials over {budgets}; {base.method}, {base.backbone}, "
        f"{base.image_size} px, epochs {base.epochs}; results in {plan.out}",
        flush=True,
    )


def _print_resumed(num_done: int, num_cut_off: int) -> None:
    if num_done or num_cut_off:
        print(f"going on: {num_done} trials are finished, {num_cut_off} were cut off", flush=True)


def _check_trials(plan: Plan) -> None:
    """Check what can be checked of the trials before any of them runs.

    Raises:
        ConfigError: an unknown name, a setting that does not fit.
        DataError: the data set is not there or damaged.
    """
    from patchtrain.datasets import load_dataset
    from patchtrain.trainer import check

    sizes = plan.space.choices("patch_size")
    for size in sizes:
        check(dataclasses.replace(plan.space.base, patch_size=size))
    # reads every image once, what it finds is kept; the largest patch finds every small image
    load_dataset(dataclasses.replace(plan.space.base, patch_size=max(sizes)))


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


def _resume_command(arguments: Sequence[str] | None) -> str:
    words = [*sys.argv[:1], *(sys.argv[1:] if arguments is None else arguments)]
    return shlex.join(["python", *words, *([] if "--resume" in words else ["--resume"])])
