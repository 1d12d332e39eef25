"""`CHECKS`: all checks of the doctor, in the order in which they run.

Knows nothing of processes and of how findings are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from patchtrain.doctor import machine_checks, memory_checks, trial_checks
from patchtrain.doctor.finding import Finding
from patchtrain.doctor.trials import TRIALS


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about a machine or its GPU."""

    name: str
    run: Callable[[torch.device], Finding]
    needs_gpu: bool = True
    is_quick: bool = False
    """Whether `--quick` runs it too."""
    measures: bool = False
    """Whether it finds out what estimates count with."""
    limit_s: float = 60.0
    """The most seconds that it may take."""
    if_it_crashes: str = "please report it"
    """What to do if its process dies."""


CHECKS = (
    Check(
        name="platform", run=machine_checks.platform, needs_gpu=False, is_quick=True, measures=True
    ),
    Check(
        name="data workers",
        run=machine_checks.data_workers,
        needs_gpu=False,
        is_quick=True,
        measures=True,
    ),
    Check(name="NVML", run=machine_checks.nvml, is_quick=True),
    Check(
        name="expandable segments",
        run=memory_checks.expandable_segments,
        is_quick=True,
        measures=True,
        if_it_crashes="trials use native segments here, which waste a little more",
    ),
    Check(name="context", run=memory_checks.context, is_quick=True, measures=True, limit_s=90),
    Check(name="workspace", run=memory_checks.workspace, measures=True, limit_s=120),
    Check(name="cap at the brim", run=memory_checks.brim, is_quick=True),
    Check(name="overrun", run=trial_checks.overrun, limit_s=90),
    Check(name="two trials at once", run=trial_checks.two_at_once, limit_s=120),
    *(
        Check(
            name=f"prediction: {name}",
            run=partial(trial_checks.prediction, name),
            is_quick=name == trial_checks.SMALL,
            limit_s=90,
        )
        for name in TRIALS
    ),
    Check(name="auto under 4GB", run=trial_checks.auto, limit_s=120),
    Check(name="chunks against one pass", run=trial_checks.exact_chunks, limit_s=90),
    Check(name="cost of the watchdog", run=trial_checks.watchdog_cost, limit_s=90),
)


def check_named(name: str) -> Check:
    """Return the check called `name`.

    Raises:
        KeyError: there is none.
    """
    return {check.name: check for check in CHECKS}[name]
