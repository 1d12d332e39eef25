"""Where a sweep is followed beside its own files: TensorBoard always, `--tracker` for one more.

Imports neither Ray nor a tracker before it has to. Knows nothing of trials; see `tracking`.
"""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from patchtrain.errors import ConfigError

if TYPE_CHECKING:  # Ray is imported once its environment is set
    from ray.tune import Callback
    from ray.tune.logger import LoggerCallback

TRACKERS = ("mlflow", "wandb")
"""Values of `--tracker`; each is the name of the package that it needs."""


def check_tracker(name: str | None) -> None:
    """Check that the tracker can be used; None is none.

    Raises:
        ConfigError: it is unknown, its package is missing, or so are settings that it needs.
    """
    if name is None:
        return
    if name not in TRACKERS:
        raise ConfigError(f"--tracker {name!r} is unknown; use one of {', '.join(TRACKERS)}")
    if not _is_installed(name):
        raise ConfigError(
            f"--tracker {name} needs the package {name}, which is not installed; "
            f"`pip install {name}`, or leave --tracker out"
        )
    if name == "wandb" and not _wandb_can_log():
        raise ConfigError(
            "--tracker wandb has no API key; set WANDB_API_KEY, run `wandb login`, "
            "or set WANDB_MODE=offline to keep runs in the folder of the sweep"
        )


def tracker_callbacks(name: str | None, *, sweep: str, out: Path) -> list[Callback]:
    """Return the callbacks that bring what Tune reports to TensorBoard and the tracker `name`.

    They never end a sweep: one that fails is switched off with a line on stderr. Put them behind
    those that write rows.

    Args:
        name: one of `TRACKERS`, checked by `check_tracker`, or None.
        sweep: its name; that of MLflow's experiment and of wandb's project.
        out: the sweep's folder, for what a tracker keeps on this machine.
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


def _wandb_can_log() -> bool:
    """Return whether wandb has a key, or needs none, by the ways that Ray accepts."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_SETUP_API_KEY_HOOK"):
        return True
    import wandb

    try:  # where `wandb login` left it
        return bool(wandb.api.api_key)
    except AttributeError:
        return False
