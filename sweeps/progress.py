"""What a sweep prints while it runs. Knows nothing of Ray and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.units import format_bytes
from sweeps.plan import Plan

_LABELS = {"patch_size": "patch", "sampling_rate": "S", "inner_iterations": "J"}
"""Shorter names of settings."""

_MAX_ERROR = 160
"""Characters of an error that are printed; the trial's row has all of it."""

_INFEASIBLE = "predicted not to fit"
"""The words for `TrialStatus.PREDICTED_INFEASIBLE`, everywhere on the screen."""


def say(text: str) -> None:
    """Print a line at once; if it cannot be written, the sweep goes on without."""
    with suppress(OSError):  # output may go to a file on a full disk, which gets the line later
        print(text, flush=True)


class Progress:
    """Prints one line per trial that ended or was refused.

    Args:
        plan: the sweep.
        records: trials that have ended already.
    """

    def __init__(self, plan: Plan, records: Iterable[TrialRecord]) -> None:
        self._names = tuple(plan.space.distributions)
        self._num_trials = plan.num_trials
        self._statuses = Counter(r.status for r in records if not r.is_replicate)

    @property
    def num_refused(self) -> int:
        """Number of configurations that were not launched, as they are predicted not to fit."""
        return self._statuses[TrialStatus.PREDICTED_INFEASIBLE]

    @property
    def num_launched(self) -> int:
        """Number of launched trials that have ended, replicates not counted."""
        return self._statuses.total() - self.num_refused

    def __call__(self, record: TrialRecord) -> None:
        """Print how a trial ended."""
        if record.is_replicate:
            say(f"[seed {record.seed}] {trial_line(record, self._names)}")
            return
        self._statuses[record.status] += 1
        is_refused = record.status is TrialStatus.PREDICTED_INFEASIBLE
        count = "-" if is_refused else f"{self.num_launched}/{self._num_trials}"
        say(f"[{count}] {trial_line(record, self._names)}")


def trial_line(record: TrialRecord, names: Sequence[str]) -> str:
    """Return one line of text on which trial it was and how it ended.

    Args:
        names: settings in which the trials differ.
    """
    settings = ", ".join(_setting(name, record.setting(name)) for name in names)
    budget = format_bytes(record.budget_bytes)
    is_refused = record.status is TrialStatus.PREDICTED_INFEASIBLE
    status = _INFEASIBLE if is_refused else record.status.value.replace("_", " ")
    return f"trial {record.trial_id} ({settings}) in {budget}: {status}, {_outcome(record)}"


def _outcome(record: TrialRecord) -> str:
    peak = format_bytes(record.peak_allocated_bytes)
    if record.status is TrialStatus.OUT_OF_MEMORY:
        return f"reached {peak}"
    if record.status in (TrialStatus.FAILED, TrialStatus.PREDICTED_INFEASIBLE):
        return " ".join((record.error or "").split())[:_MAX_ERROR]
    metric = "unknown" if record.metric is None else f"{record.metric:.3f}"
    return f"{record.metric_name} {metric}, peak {peak}"


def _setting(name: str, value: Any) -> str:
    if isinstance(value, str) and not value.isdecimal():  # a word such as `concat` needs no name
        return value if name != "patch_microbatch" else f"microbatch {value}"
    number = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{_LABELS.get(name, name)} {number}"


def say_start(plan: Plan) -> None:
    """Print what is about to run."""
    base = plan.space.base
    if base.data_dir is None:
        say(
            "SAMPLE DATA: no --data-dir given, so trials train on small generated images; "
            "the results say nothing about the real data set"
        )
    budgets = ", ".join(format_bytes(budget) for budget in plan.budgets_bytes)
    methods, backbones = (
        " or ".join(map(str, plan.space.choices(name))) for name in ("method", "backbone")
    )
    say(
        f"{plan.sweep}: {plan.num_trials} trials over {budgets}; {methods}, {backbones}, "
        f"{base.image_size} px, epochs {base.epochs}; {_how(plan)}results in {plan.out}"
    )


def _how(plan: Plan) -> str:
    chosen = []
    if plan.sampler != "tpe":
        chosen.append(f"sampler {plan.sampler}")
    if plan.scheduler != "none":
        chosen.append(f"scheduler {plan.scheduler}")
    if plan.first:
        chosen.append(f"{len(plan.first)} of the paper's configurations first")
    if plan.num_seeds > 1:
        chosen.append(f"Pareto front with {plan.num_seeds} seeds")
    return f"{', '.join(chosen)}; " if chosen else ""


def say_known(plan: Plan, device: str) -> None:
    """Print how many trials of earlier sweeps count on this kind of device, `cpu` or `cuda`."""
    for known in plan.known:
        num_known = len(known.on(device))
        elsewhere, outside = len(known.records) - num_known, known.num_outside
        line = f"--warm-start {known.run_dir}: {num_known} trials are known"
        line += f", {outside} lie outside of this space" if outside else ""
        line += f", {elsewhere} ran on another kind of device" if elsewhere else ""
        say(line)


def say_resumed(num_done: int, num_cut_off: int) -> None:
    """Print what an earlier start has left, if there was one."""
    if num_done or num_cut_off:
        say(f"resuming: {num_done} finished, {num_cut_off} cut off")


def say_searched(plan: Plan, progress: Progress, used_up: Sequence[int]) -> None:
    """Print what the search did not launch, and whether it ran out of configurations."""
    if progress.num_refused:
        say(f"not launched, as {_INFEASIBLE}: {progress.num_refused} configurations")
    if used_up and progress.num_launched < plan.num_trials:
        budgets = ", ".join(format_bytes(budget) for budget in used_up)
        say(
            f"all configurations that fit {budgets} were tried: "
            f"{progress.num_launched} trials instead of {plan.num_trials}; "
            "widen the space (--vary) for more"
        )
