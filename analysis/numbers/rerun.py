"""How a trial is trained again: its configuration file and the shell command.

Knows nothing of which trial is chosen.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.runs.run import RUN, Run
from analysis.text import exact_size


@dataclass(frozen=True)
class Command:
    """The shell command that trains a trial, in two pieces with the budget to set between them."""

    before: str
    after: str

    def within(self, budget_bytes: int | None) -> str:
        """Return the command; with None the trial keeps its own budget."""
        budget = "" if budget_bytes is None else f" --set budget={exact_size(budget_bytes)}"
        return f"{self.before}{budget}{self.after}"


def config_name(trial: Mapping[str, Any]) -> str:
    """Return the path of the configuration that reruns `trial`, inside the run's folder."""
    return f"trials/{trial['trial_id']}/config.yaml"


def command_of(run: Run, trial: Mapping[str, Any]) -> Command | None:
    """Return how `trial` is trained again; None where its run has no folder.

    A configuration that lies behind a URI is fetched first.
    """
    folder = run.folders.get(trial[RUN])
    if folder is None:
        return None
    trial_id = trial["trial_id"]
    out = shlex.join(["--out", f"trained/{trial_id}"])
    if folder.is_local:
        train = shlex.join(["patchtrain", "train", folder.path_of(config_name(trial))])
        return Command(train, f" {out}")
    fetched = f"{trial_id}.yaml"
    show = ["python", "-m", "analysis", "show", folder.text, trial_id, "--config", fetched]
    return Command(
        f"{shlex.join(show)} && {shlex.join(['patchtrain', 'train', fetched])}", f" {out}"
    )


def train_command(run: Run, trial: Mapping[str, Any], budget_bytes: int | None) -> str | None:
    """Return the shell command that trains `trial` within `budget_bytes`.

    The configuration holds the budget that the trial ran under. Where another one was asked for,
    the command sets that, so that the rerun keeps to it.
    """
    command = command_of(run, trial)
    if command is None:
        return None
    return command.within(None if budget_bytes == trial["budget_bytes"] else budget_bytes)
