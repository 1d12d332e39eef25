"""The stages of a sweep on a connected cluster: what fits where, the search, the replicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError
from patchtrain.record import TrialRecord, TrialStatus
from sweeps.checks import DataSizes
from sweeps.errors import Unfinished
from sweeps.plan import Plan
from sweeps.progress import Progress, say, say_known, say_resumed, say_searched
from sweeps.results.records import infeasible_record
from sweeps.results.store import RunFolder
from sweeps.search.prediction import Predict, Prediction, Predictor, check_budgets

if TYPE_CHECKING:  # Ray is imported once its environment is set, and not for bad input
    from optuna.storages import BaseStorage

    from sweeps.course import Course
    from sweeps.placement.placement import Placement
    from sweeps.search.budget_search import BudgetSearch, Suggestion
    from sweeps.search.replicates import Replicates
    from sweeps.search.scheduler import Reached


def run(plan: Plan, folder: RunFolder, data: DataSizes, *, cluster_may_grow: bool = False) -> None:
    """Run what is left of the sweep on the connected cluster.

    Args:
        data: the number of images that trials have.
        cluster_may_grow: whether nodes may be added meanwhile, by the cluster or by hand.

    Raises:
        ConfigError: a budget does not fit the nodes, no configuration fits a budget, or the
            folder is in use; nothing has been started.
    """
    from sweeps.course import Course
    from sweeps.placement import cluster, placement

    base = plan.space.base
    room = placement.survey(
        plan.gpu_memory_bytes,
        folder.gpus_path,
        asks_gpus=base.device != "cpu",
        precision=base.precision,
    )
    places = placement.Placement(base, plan.budgets_bytes, room)
    places.check_fits(may_grow=cluster_may_grow)
    predict = Predictor(data.num_train, data.num_val, places.device, room.gpu_facts)
    check_budgets(plan.space, plan.budgets_bytes, predict)
    folder.open(plan.description(), data.inputs)
    try:
        placement.remember(room, folder.gpus_path)
        progress = Progress(plan, folder.finished(retry_failed=plan.retry_failed))
        limit = _max_concurrent(plan, places, cluster_may_grow=cluster_may_grow)
        starts_nodes = cluster_may_grow and cluster.starts_nodes()
        course = Course(plan, folder, places, progress, limit, starts_nodes)
        _run_search(course, predict, progress)
        if plan.num_seeds > 1:
            _run_replicates(course)
    finally:
        folder.close()
    _check_outcome(folder)


def _check_outcome(folder: RunFolder) -> None:
    """Raise `Unfinished` unless the sweep came to its end with a trial that did not fail."""
    put_off = folder.to_run_again()
    if put_off:
        raise Unfinished(
            f"{len(put_off)} trials failed for a reason outside them and are to run again (first "
            f"{put_off[0].trial_id}: {put_off[0].error})"
        )
    launched = [r for r in folder.records() if r.status is not TrialStatus.PREDICTED_INFEASIBLE]
    if launched and all(record.status is TrialStatus.FAILED for record in launched):
        raise Unfinished(
            f"all {len(launched)} trials failed (first {launched[0].trial_id}: "
            f"{launched[0].error}); mend that, and add --retry-failed"
        )


def _max_concurrent(plan: Plan, places: Placement, *, cluster_may_grow: bool) -> int | None:
    """Return the most trials at the same time; None: as many as the cluster comes to hold."""
    if plan.max_concurrent is not None or cluster_may_grow:
        return plan.max_concurrent
    # a trial that waits for room was proposed on less knowledge than it could have been
    return max(1, places.num_slots())


def _run_search(course: Course, predict: Predict, progress: Progress) -> None:
    from sweeps.search.scheduler import make_scheduler

    plan, folder, device = course.plan, course.folder, course.places.device
    search = make_search(plan, folder, device, predict, progress)
    say_known(plan, device)
    say_resumed(plan, progress.num_launched, len(search.cut_off))
    if search.num_to_run:
        earlier = _reached(folder, search)
        course.run(search, make_scheduler(plan.scheduler, plan.space.base.epochs, earlier))
    say_searched(plan, progress, search.used_up)


def make_search(
    plan: Plan,
    folder: RunFolder,
    device: str,
    predict: Predict,
    announce: Callable[[TrialRecord], None],
) -> BudgetSearch:
    """Return the search of `plan`, which goes on from what is in the open `folder`.

    Args:
        device: kind of device that trials run on, `cpu` or `cuda`.
        predict: predicts what a configuration will need.
        announce: called with each configuration that is not launched.

    Raises:
        ConfigError: the studies in `folder` are damaged.
    """
    from sweeps.search.budget_search import BudgetSearch

    def refuse(suggestion: Suggestion, prediction: Prediction | ConfigError) -> TrialRecord:
        config = plan.space.config(suggestion.params, suggestion.budget_bytes)
        record = infeasible_record(config, suggestion.trial_id, plan.sweep, prediction)
        folder.add_config(record.trial_id, config)
        folder.add_record(record)
        announce(record)
        return record

    return BudgetSearch(
        plan.space,
        plan.budgets_bytes,
        num_trials=plan.num_trials,
        sweep=plan.sweep,
        storage=_storage(folder),
        finished=folder.finished(retry_failed=plan.retry_failed),
        again=folder.to_run_again(retry_failed=plan.retry_failed),
        seed=plan.seed,
        checkpoints=folder.checkpoints.found(),
        sampler=plan.sampler,
        predict=predict,
        refuse=refuse,
        first=plan.first,
        known=[record for known in plan.known for record in known.on(device)],
    )


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
            f"{folder.journal_path}: is damaged ({' '.join(str(error).split())[:120]}); finished "
            f"trials are intact: give another --out and --warm-start {folder.path}"
        ) from None


def _reached(folder: RunFolder, search: BudgetSearch) -> Iterator[Reached]:
    """Yield what the trials of earlier starts had reached after each of their epochs."""
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


def _run_replicates(course: Course) -> None:
    from sweeps.search.replicates import describe_groups

    replicates = make_replicates(course.plan, course.folder)
    if replicates.num_to_run:
        course.run(replicates, None)
    for line in describe_groups(course.folder.records()):
        say(line)


def make_replicates(plan: Plan, folder: RunFolder) -> Replicates:
    """Return the trials of `plan` that repeat the Pareto front and are missing in `folder`."""
    from sweeps.search.replicates import Replicates

    return Replicates(
        plan.space,
        folder.finished(retry_failed=plan.retry_failed),
        num_seeds=plan.num_seeds,
        sweep=plan.sweep,
        checkpoints=folder.checkpoints.found(),
    )
