"""`Plan`: the sweep that a command line asks for, checked as far as that goes without Ray.

Every sweep script is a `Sweep`: its defaults. Knows nothing of how a plan is run.
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
from typing import Any, NoReturn

from patchtrain.config import PLACEMENT_SETTINGS, TrialConfig, parse_overrides
from patchtrain.errors import ConfigError
from patchtrain.estimation.predict import check_budget, fixed_bytes
from patchtrain.units import parse_budget
from sweeps import cluster
from sweeps.paper import paper_points
from sweeps.samplers import SAMPLERS
from sweeps.scheduler import SCHEDULERS
from sweeps.spaces import ROLES, Space, parse_varied, patch_sizes, patch_space
from sweeps.trackers import TRACKERS, check_tracker
from sweeps.warm_start import Known, known_trials

_NETWORKS = ("method", "backbone", "encoder")
"""Settings that decide which networks there are."""

_FREE = ("budget", *PLACEMENT_SETTINGS)
"""Settings that may differ when a sweep is resumed; budgets are compared as the sweep's own."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Defaults of a sweep for one purpose; every one can be overridden on the command line."""

    settings: Mapping[str, Any]
    """Names and values of `TrialConfig`."""
    budgets: tuple[str, ...]
    num_trials: int
    max_inner_iterations: int = 12


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What tells one sweep script from another."""

    name: str
    """Recorded with every trial; also names the default RUN_DIR."""
    description: str
    full: Preset
    """On the real data set."""
    sample: Preset
    """On generated sample data."""
    smoke: Preset
    """To see within a minute that everything works."""


@dataclass(frozen=True)
class Plan:
    """One sweep as asked for on the command line, checked as far as that goes without Ray."""

    sweep: str
    space: Space
    budgets_bytes: tuple[int, ...]
    num_trials: int
    seed: int
    out: Path
    max_concurrent: int | None
    """Trials at a time; None: as many as fit."""
    gpu_memory_bytes: int | None
    """Memory of a GPU; None: asked of the cluster."""
    sampler: str
    scheduler: str
    num_seeds: int
    """Seeds that each configuration of the front is trained with in the end."""
    first: tuple[Mapping[str, Any], ...]
    """Draws from the space to try before the sampler's."""
    known: tuple[Known, ...]
    """What earlier sweeps have to teach."""
    tracker: str | None

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
    """Return what all trials of a sweep over `space` have in common."""
    settings = dataclasses.asdict(space.base)
    for name in (*space.distributions, *_FREE):
        del settings[name]
    return settings


def make_plan(sweep: Sweep, options: argparse.Namespace) -> Plan:
    """Return the plan that `options` ask for.

    Raises:
        ConfigError: an option or setting is wrong.
    """
    preset = sweep.full
    if options.smoke_test:
        preset = sweep.smoke
    elif options.data_dir is None:
        preset = sweep.sample
    overrides = parse_overrides(options.set)
    base = _base(preset, options, overrides)
    if base.budget is not None:
        raise ConfigError(f"--set budget={base.budget}: a sweep has several; use --budgets")
    budgets_bytes = _budgets(options.budgets or preset.budgets)
    space = patch_space(
        base,
        fixed={*overrides, *_given(options)},
        varied=parse_varied(options.vary),
        max_inner_iterations=preset.max_inner_iterations,
    )
    _check_networks_fit(space, budgets_bytes)
    check_tracker(options.tracker)
    out = cluster.working_dir() / Path(options.out or f"runs/{sweep.name}").expanduser()
    return Plan(
        sweep=sweep.name,
        space=space,
        budgets_bytes=budgets_bytes,
        num_trials=_at_least_one(
            "--num-trials",
            preset.num_trials if options.num_trials is None else options.num_trials,
        ),
        seed=base.seed,
        max_concurrent=None
        if options.max_concurrent is None
        else _at_least_one("--max-concurrent", options.max_concurrent),
        gpu_memory_bytes=None
        if options.gpu_memory is None
        else parse_budget(options.gpu_memory, "--gpu-memory"),
        out=out,
        sampler=_one_of("--sampler", options.sampler, SAMPLERS),
        scheduler=_one_of("--scheduler", options.scheduler, SCHEDULERS),
        num_seeds=_num_seeds(options.seeds, base),
        first=tuple(paper_points(space)) if options.include_paper_configs else (),
        known=tuple(known_trials(_earlier(options.warm_start, out), space, shared_settings(space))),
        tracker=options.tracker,
    )


def _base(preset: Preset, options: argparse.Namespace, overrides: Mapping[str, Any]) -> TrialConfig:
    """Return what all trials share, from the preset, the options and `--set`, in rising rank."""
    given = _given(options)
    if options.skip_bad_images:
        given["skip_bad_images"] = True
    values = {**preset.settings, **given, **overrides}
    if "patch_size" not in overrides:  # any that divides the image: the space varies it
        any_size = TrialConfig.from_mapping({**values, "method": "full", "patch_size": 1})
        values["patch_size"] = patch_sizes(any_size.image_size, task=any_size.task)[0]
    return TrialConfig.from_mapping(values).with_absolute_paths()


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that have an option of their own and were given."""
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
    """Refuse a budget that none of the networks of `space` fits, whatever else is set.

    Raises:
        ConfigError: says what the smallest of them need.
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
                f"--warm-start {text}: is the --out of this sweep, which knows its own trials; "
                "leave it out"
            )
        folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def _num_seeds(number: int, base: TrialConfig) -> int:
    """Return how many seeds the front is trained with; the last of them must be one, too."""
    last = base.seed + _at_least_one("--seeds", number) - 1
    try:
        dataclasses.replace(base, seed=last)
    except ConfigError as error:
        raise ConfigError(f"--seeds {number}, from {base.seed} on: {error}") from None
    return number


def _one_of(option: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ConfigError(f"{option} {name}: unknown; use one of {', '.join(names)}")
    return name


def _at_least_one(option: str, number: int) -> int:
    if number < 1:
        raise ConfigError(f"{option} {number} must be at least 1; raise it")
    return number


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def parser(sweep: Sweep) -> argparse.ArgumentParser:
    """Return the parser of a sweep script; it raises `ConfigError`, and `--help` exits."""
    made = _Parser(prog=f"{sweep.name}.py", description=sweep.description)
    add = made.add_argument
    add(
        "--data-dir",
        metavar="DIR",
        help="the data set (default: small generated sample data)",
    )
    add(
        "--budgets",
        nargs="+",
        metavar="SIZE",
        help="memory budgets, such as 4GB (10^9) or 4GiB (2^30) "
        f"(default: {' '.join(sweep.full.budgets)}; sample data: {' '.join(sweep.sample.budgets)})",
    )
    add(
        "--num-trials",
        type=int,
        metavar="N",
        help="trials to launch, over all budgets; those predicted not to fit do not count "
        f"(default: {sweep.full.num_trials}; sample data: {sweep.sample.num_trials})",
    )
    add("--epochs", type=int, metavar="E", help="epochs of a trial")
    add("--image-size", type=int, metavar="PX", help="side that images are fitted into")
    add(
        "--backbone",
        metavar="NAME",
        help="feature extractor: its timm name, or unet, deeplabv3, unet_plain for segmentation",
    )
    add("--method", metavar="M", help="how an image is trained on")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of a trial; one that the sweep would vary stays fixed",
    )
    add(
        "--vary",
        action="append",
        default=[],
        metavar="NAME[=VALUES]",
        help="vary another setting too, or over other values: A,B,C or LOW:HIGH; "
        f"one of {', '.join(ROLES)}",
    )
    add(
        "--sampler",
        default="tpe",
        metavar="NAME",
        help=f"what proposes configurations: {', '.join(SAMPLERS)} (default: tpe)",
    )
    add(
        "--scheduler",
        default="none",
        metavar="NAME",
        help="early stopping within a budget: none, asha (by metric), mo-asha (by metric and "
        "peak) (default: none)",
    )
    add(
        "--include-paper-configs",
        action="store_true",
        help="try the paper's configurations first",
    )
    add(
        "--warm-start",
        nargs="+",
        default=[],
        metavar="RUN_DIR",
        help="learn from the trials of earlier sweeps, and do not run them again",
    )
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="in the end train the front's configurations with so many seeds (default: 1)",
    )
    add(
        "--tracker",
        metavar="NAME",
        help=f"report to {' or '.join(TRACKERS)} too, beside TensorBoard",
    )
    add(
        "--out",
        metavar="RUN_DIR",
        help=f"folder of the results (default: runs/{sweep.name}; in a submitted job in the home "
        "folder); on a cluster of several nodes, one that all of them share",
    )
    add("--resume", action="store_true", help="go on with the sweep in RUN_DIR")
    add(
        "--address",
        metavar="A",
        help="Ray cluster: host:port or auto (default: this machine)",
    )
    add(
        "--max-concurrent",
        type=int,
        metavar="K",
        help="trials at a time (default: what fits)",
    )
    add(
        "--gpu-memory",
        metavar="SIZE",
        help="memory of a GPU (default: asked of the cluster)",
    )
    add("--seed", type=int, metavar="S", help="seed of search and trials")
    add(
        "--skip-bad-images",
        action="store_true",
        help="go on without images that cannot be read; how many is recorded",
    )
    add(
        "--smoke-test",
        action="store_true",
        help="a few tiny trials, to see that all works",
    )
    return made
