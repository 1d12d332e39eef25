"""`Plan`: the sweep that a command line asks for, with everything checked that needs no Ray.

Knows nothing of how a plan is run.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from patchtrain.config import (
    PLACEMENT_SETTINGS,
    TrialConfig,
    parse_overrides,
    settings_of,
)
from patchtrain.errors import ConfigError
from patchtrain.estimation.predict import check_budget, fixed_bytes
from patchtrain.files import check_local
from patchtrain.units import parse_budget
from sweeps.placement import cluster
from sweeps.presets import Preset, Sweep
from sweeps.search.paper import paper_points
from sweeps.search.patch_space import patch_sizes, patch_space
from sweeps.search.samplers import check_sampler
from sweeps.search.scheduler import check_scheduler
from sweeps.search.space import Space
from sweeps.search.values import parse_varied
from sweeps.search.warm_start import Known, known_trials
from sweeps.tracking.trackers import check_tracker

_NETWORKS = ("method", "backbone", "encoder", "fusion")
"""Settings that decide which networks are built."""

_FREE = ("budget", *PLACEMENT_SETTINGS)
"""Settings that may differ when a sweep is resumed; budgets are compared as the sweep's own."""


@dataclass(frozen=True)
class Plan:
    """One sweep as the command line asks for it, with everything checked that needs no Ray."""

    sweep: str
    space: Space
    budgets_bytes: tuple[int, ...]
    num_trials: int
    seed: int
    out: Path
    max_concurrent: int | None
    """Most trials at the same time; None: as many as fit."""
    gpu_memory_bytes: int | None
    """Memory of a GPU; None: the cluster is asked."""
    sampler: str
    scheduler: str
    num_seeds: int
    """Seeds that each Pareto-front configuration is trained with, the sweep's own included."""
    first: tuple[Mapping[str, Any], ...]
    """Draws from the space to try before those of the sampler."""
    known: tuple[Known, ...]
    """What earlier sweeps found out."""
    tracker: str | None
    retry_failed: bool
    """Whether trials run again that failed because of their configuration."""
    added_budgets_bytes: tuple[int, ...] = ()
    """Budgets that the sweep did not have at its earlier starts."""

    def description(self) -> dict[str, Any]:
        """Return the content of `sweep.json`."""
        return {
            "sweep": self.sweep,
            "budgets_bytes": list(self.budgets_bytes),
            "space": self.space.describe(),
            "settings": shared_settings(self.space),
            "num_trials": self.num_trials,
            "num_seeds": self.num_seeds,
            "sampler": self.sampler,
            "scheduler": self.scheduler,
            "warm_start": [str(known.run_dir) for known in self.known],
            "seed": self.seed,
            "command": shlex.join(["python", *sys.argv]),
            "started_at": datetime.now(timezone.utc).isoformat(),
            "versions": {name: version(name) for name in ("ray", "optuna", "torch", "timm")},
        }


def shared_settings(space: Space) -> dict[str, Any]:
    """Return the settings that all trials of a sweep over `space` share."""
    settings = dataclasses.asdict(space.base)
    for name in (*space.distributions, *_FREE):
        del settings[name]
    return settings


def make_plan(sweep: Sweep, options: argparse.Namespace) -> Plan:
    """Return the plan that `options`, parsed by `options.parser`, ask for.

    Raises:
        ConfigError: an option or setting is wrong.
    """
    _check_counts(options)
    if options.retry_failed and not options.resume:
        raise ConfigError("--retry-failed: a new sweep has no failed trials; add --resume")
    preset = _preset(sweep, options)
    overrides = parse_overrides(options.set)
    base = _base(preset, options, overrides)
    if base.budget is not None:
        raise ConfigError(f"--set budget={base.budget}: a sweep takes several; use --budgets")
    budgets_bytes = _budgets(options.budgets or preset.budgets)
    space = patch_space(
        base,
        fixed={*overrides, *_given(options)},
        varied=parse_varied(options.vary),
        max_inner_iterations=preset.max_inner_iterations,
    )
    _check_networks_fit(space, budgets_bytes)
    _check_seeds(options.seeds, base)
    check_tracker(options.tracker)
    check_scheduler(options.scheduler)
    num_trials = options.num_trials or preset.num_trials
    check_sampler(options.sampler, base.seed, num_trials // len(budgets_bytes), space.distributions)
    out = Path(options.out or f"runs/{sweep.name}").expanduser()
    check_local(out)
    out = cluster.working_dir() / out
    return Plan(
        sweep=sweep.name,
        space=space,
        budgets_bytes=budgets_bytes,
        num_trials=num_trials,
        seed=base.seed,
        max_concurrent=options.max_concurrent,
        gpu_memory_bytes=_gpu_memory_bytes(options.gpu_memory),
        out=out,
        sampler=options.sampler,
        scheduler=options.scheduler,
        num_seeds=options.seeds,
        first=tuple(paper_points(space)) if options.include_paper_configs else (),
        known=tuple(known_trials(_earlier(options.warm_start, out), space, shared_settings(space))),
        tracker=options.tracker,
        retry_failed=options.retry_failed,
    )


def resumed(plan: Plan, options: argparse.Namespace, held: Mapping[str, Any]) -> Plan:
    """Return `plan` as it goes on with a sweep: it launches as many trials as that one was asked
    for, and as many more for each budget that is new, unless `options` say how many.

    Args:
        held: content of the `sweep.json` that is there.
    """
    before = held.get("budgets_bytes") or plan.budgets_bytes
    added = tuple(budget for budget in plan.budgets_bytes if budget not in before)
    num_trials = plan.num_trials
    if options.num_trials is None:
        num_trials = held.get("num_trials", num_trials)
        num_trials += len(added) * max(1, round(num_trials / len(before)))
    return dataclasses.replace(plan, num_trials=num_trials, added_budgets_bytes=added)


def _preset(sweep: Sweep, options: argparse.Namespace) -> Preset:
    if options.smoke_test:
        return sweep.smoke
    return sweep.sample if options.data_dir is None else sweep.full


def _base(preset: Preset, options: argparse.Namespace, overrides: Mapping[str, Any]) -> TrialConfig:
    """Return what all trials share: the preset, overridden by the options, and those by `--set`."""
    given = _given(options)
    for name in ("skip_bad_images", "drop_duplicates"):
        if getattr(options, name):
            given[name] = True
    values = {**preset.settings, **given, **overrides}
    if "patch_size" not in overrides:  # any that divides the image will do: the space varies it
        checked = settings_of(values)
        image_size = checked.get("image_size", TrialConfig.image_size)
        values["patch_size"] = patch_sizes(image_size, task=checked["task"])[0]
    return TrialConfig.from_mapping(values).with_absolute_paths()


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the user gave by an option of their own."""
    names = ("data_dir", "image_size", "backbone", "method", "epochs", "seed")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _budgets(texts: Sequence[str]) -> tuple[int, ...]:
    """Return the budgets in bytes."""
    budgets = [parse_budget(text, "--budgets") for text in texts]
    for index, budget in enumerate(budgets):
        if budget in budgets[:index]:
            raise ConfigError(
                f"--budgets {texts[index]} is given twice ({budget} bytes); give each once"
            )
    if budgets != sorted(budgets):
        ascending = " ".join(text for _, text in sorted(zip(budgets, texts, strict=True)))
        raise ConfigError(f"--budgets {' '.join(texts)}: must ascend; write --budgets {ascending}")
    return tuple(budgets)


def _check_networks_fit(space: Space, budgets_bytes: Sequence[int]) -> None:
    """Refuse a budget that is too small for all networks of `space`, whatever else is set.

    Raises:
        ConfigError: says what the smallest networks need.
    """
    smallest = min(space.variants(_NETWORKS), key=fixed_bytes)
    check_budget(dataclasses.replace(smallest, budget=min(budgets_bytes)))


def _earlier(texts: Sequence[str], out: Path) -> list[Path]:
    """Return the folders of earlier sweeps, each once."""
    folders: dict[Path, Path] = {}
    for text in texts:
        folder = cluster.working_dir() / Path(text).expanduser()
        if folder.resolve() == out.resolve():
            raise ConfigError(
                f"--warm-start {text}: is the --out of this sweep, which knows its own trials "
                "already; leave it out"
            )
        folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _check_counts(options: argparse.Namespace) -> None:
    for name in ("num_trials", "max_concurrent", "seeds"):
        number = getattr(options, name)
        if number is not None and number < 1:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} {number} must be at least 1; raise it")


def _check_seeds(number: int, base: TrialConfig) -> None:
    """Check that the last of `number` seeds, from that of `base` on, is a valid one too."""
    try:
        dataclasses.replace(base, seed=base.seed + number - 1)
    except ConfigError as error:
        raise ConfigError(f"--seeds {number}, from {base.seed} on: {error}") from None


def _gpu_memory_bytes(text: str | None) -> int | None:
    return None if text is None else parse_budget(text, "--gpu-memory")
