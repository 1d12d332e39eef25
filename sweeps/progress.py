"""What a sweep prints while it runs. Knows nothing of Ray and files."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        records: Iterable[TrialRecord],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = tuple(plan.space.distributions)
        self._num_trials = plan.num_trials
        own = [record for record in records if not record.is_replicate]
        self._statuses = Counter(record.status for record in own)
        self._best: tuple[float, str] | None = None
        for record in own:
            self._note_best(record)
        self._clock = clock
        self._started_at = clock()
        self._num_before = self.num_launched

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
        if record.status is TrialStatus.PREDICTED_INFEASIBLE:
            say(f"[-] {trial_line(record, self._names)}")
            return
        self._note_best(record)
        count = f"{self.num_launched}/{self._num_trials}"
        say(f"[{count}] {trial_line(record, self._names)}{self._outlook()}")

    def _note_best(self, record: TrialRecord) -> None:
        metric = record.metric
        if record.status is not TrialStatus.COMPLETED or metric is None or math.isnan(metric):
            return
        if self._best is None or metric > self._best[0]:
            self._best = metric, record.trial_id

    def _outlook(self) -> str:
        """Return, as text, the best so far and how long the rest may take."""
        parts = []
        if self._best is not None:
            metric, trial_id = self._best
            parts.append(f"best so far {metric:.3f} ({trial_id})")
        num_left = self._num_trials - self.num_launched
        num_now = self.num_launched - self._num_before
        if num_left > 0 and num_now > 0:
            left_s = (self._clock() - self._started_at) / num_now * num_left
            parts.append(f"about {_duration(left_s)} left")
        return "".join(f"; {part}" for part in parts)


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


def _duration(seconds: float) -> str:
    """Return a time as text, no more exact than a guess can be."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


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


def say_resumed(plan: Plan, num_done: int, num_cut_off: int) -> None:
    """Print what an earlier start has left, if there was one, and which budgets are new."""
    if num_done or num_cut_off:
        say(f"resuming: {num_done} finished, {num_cut_off} cut off")
    if not plan.added_budgets_bytes:
        return
    added = ", ".join(format_bytes(budget) for budget in plan.added_budgets_bytes)
    num_left = plan.num_trials - num_done - num_cut_off
    if num_left > 0:
        say(f"new budget {added}: it learns from the earlier trials; {num_left} more are launched")
    else:
        num_fair = plan.num_trials * len(plan.budgets_bytes)
        num_fair //= len(plan.budgets_bytes) - len(plan.added_budgets_bytes)
        say(
            f"new budget {added}: all {plan.num_trials} trials were launched under the others; "
            f"add --num-trials {num_fair} to launch as many under it"
        )


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
