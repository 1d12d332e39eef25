"""Trackers by name: TensorBoard always, and `--tracker` for one more.

Adding one takes an entry in `_KINDS` and a file in `loggers`. Imports neither Ray nor a tracker
before they are needed. Knows nothing of trials; see `tracker`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError

if TYPE_CHECKING:  # Ray is imported once its environment is set
    from ray.tune import Callback
    from ray.tune.logger import LoggerCallback


@dataclass(frozen=True)
class _Kind:
    """What a tracker needs."""

    package: str
    problem: Callable[[], str | None] = lambda: None
    """Returns what keeps an installed tracker from logging, with the remedy; None: nothing."""


def check_tracker(name: str | None) -> None:
    """Check that the tracker `name` can be used; None asks for no tracker.

    Raises:
        ConfigError: the tracker is unknown, or its package or a setting that it needs is missing.
    """
    if name is None:
        return
    if name not in _KINDS:
        raise ConfigError(f"--tracker {name!r} is unknown; use one of {', '.join(TRACKERS)}")
    kind = _KINDS[name]
    if not _is_installed(kind.package):
        raise ConfigError(
            f"--tracker {name} needs the package {kind.package}, which is not installed; "
            f"`pip install {kind.package}`, or leave --tracker out"
        )
    if problem := kind.problem():
        raise ConfigError(f"--tracker {name} {problem}")


def tracker_callbacks(name: str | None, *, sweep: str, out: Path) -> list[Callback]:
    """Return the callbacks that send what Tune reports to TensorBoard and the tracker `name`.

    They never end a sweep: one that fails is switched off with a line on stderr. Put them after
    those that write rows.

    Args:
        name: one of `TRACKERS`, checked by `check_tracker`, or None.
        sweep: name of the sweep, which MLflow's experiment and wandb's project get too.
        out: folder of the sweep, for files that a tracker keeps on this machine.
    """
    from sweeps.tracking.tracker import Tracker

    chosen = {"TensorBoard": "tensorboard"} | ({f"--tracker {name}": name} if name else {})
    return [
        Tracker(label, partial(_make_logger, module, sweep, out.absolute()))
        for label, module in chosen.items()
    ]


def _make_logger(module: str, sweep: str, out: Path) -> LoggerCallback:
    return import_module(f"sweeps.tracking.loggers.{module}").make_logger(sweep, out)


def _is_installed(package: str) -> bool:
    # a folder of that name, which wandb leaves where it runs, has a spec without origin
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _problem_of_wandb() -> str | None:
    if _wandb_can_log():
        return None
    return (
        "has no API key; set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline to keep "
        "runs in the folder of the sweep"
    )


def _wandb_can_log() -> bool:
    """Return whether wandb has a key in a way that Ray accepts, or needs none."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_SETUP_API_KEY_HOOK"):
        return True
    import wandb

    try:  # where `wandb login` left it
        return bool(wandb.api.api_key)
    except AttributeError:
        return False


_KINDS: Mapping[str, _Kind] = {
    "mlflow": _Kind("mlflow"),
    "wandb": _Kind("wandb", _problem_of_wandb),
}

TRACKERS = tuple(_KINDS)
"""Values of `--tracker`; each is also the name of a file in `loggers`."""
