"""The command line and the course of a sweep: check, connect, run Tune, report.

Every sweep script is a `Sweep` handed to `main`. Exit status: 0 done; 1 something went wrong
while running; 2 bad input, with one line on stderr and nothing written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from patchtrain.config import TrialConfig, parse_overrides
from patchtrain.errors import ConfigError, DataError
from patchtrain.memory.budget import parse_budget
from patchtrain.record import TrialRecord, TrialStatus
from patchtrain.units import format_bytes
from sweeps import cluster
from sweeps.spaces import Space, patch_sizes, patch_space
from sweeps.store import RunFolder

if TYPE_CHECKING:  # Ray is imported once its environment is set, and not for bad input
    from sweeps.placement import Placement
    from sweeps.search import BudgetSearch

MAX_WORKER_DEATHS = 1
"""Deaths of its worker that a trial survives, going on from its last checkpoint."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


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

    def description(self) -> dict[str, Any]:
        """Return the content of `sweep.json`."""
        settings = dataclasses.asdict(self.space.base)
        for name in self.space.distributions:
            del settings[name]
        return {
            "sweep": self.sweep,
            "budgets_bytes": list(self.budgets_bytes),
            "space": self.space.describe(),
            "settings": settings,
            "num_trials": self.num_trials,
            "seed": self.seed,
            "command": shlex.join(["python", *sys.argv]),
            "started_at": datetime.now(timezone.utc).isoformat(),
            "versions": {name: version(name) for name in ("ray", "optuna", "torch", "timm")},
        }


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Run the sweep that the command line asks for; return the exit status."""
    cluster.quieten()
    try:
        options = _parser(sweep).parse_args(arguments)
        plan = make_plan(sweep, options)
        gpu_memory = options.gpu_memory and parse_budget(options.gpu_memory, "--gpu-memory")
        if options.max_concurrent is not None:
            _at_least_one("--max-concurrent", options.max_concurrent)
        folder = RunFolder(plan.out)
        folder.check(options.resume, plan.description())
        _check_trials(plan)
        _print_start(plan)
        with cluster.connected(options.address) as is_ours:
            run(
                plan,
                folder,
                gpu_memory_bytes=gpu_memory,
                max_concurrent=options.max_concurrent,
                cluster_may_grow=not is_ours,
            )
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
    return Plan(
        sweep=sweep.name,
        space=patch_space(
            base,
            fixed=set(overrides),
            max_inner_iterations=preset.max_inner_iterations,
        ),
        budgets_bytes=_budgets(options.budgets or preset.budgets),
        num_trials=_at_least_one(
            "--num-trials",
            preset.num_trials if options.num_trials is None else options.num_trials,
        ),
        seed=base.seed,
        out=Path(options.out or f"runs/{sweep.name}").expanduser().absolute(),
    )


def _base(preset: Preset, options: argparse.Namespace, overrides: Mapping[str, Any]) -> TrialConfig:
    """Return what all trials share, from the preset, the options and `--set`, in rising rank."""
    names = ("data_dir", "image_size", "backbone", "method", "epochs", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.skip_bad_images:
        given["skip_bad_images"] = True
    values = {**preset.settings, **given, **overrides}
    if "patch_size" not in overrides:  # any that divides the image: the space varies it
        image_size = TrialConfig.from_mapping({**values, "patch_size": 1}).image_size
        values["patch_size"] = patch_sizes(image_size)[0]
    return _with_absolute_paths(TrialConfig.from_mapping(values))


def run(
    plan: Plan,
    folder: RunFolder,
    *,
    gpu_memory_bytes: int | None = None,
    max_concurrent: int | None = None,
    cluster_may_grow: bool = False,
) -> None:
    """Run what is left of the sweep on the connected cluster.

    Args:
        gpu_memory_bytes: memory of a GPU; None asks the cluster.
        max_concurrent: trials at a time; None: as many as fit.
        cluster_may_grow: whether trials without room bring new nodes.

    Raises:
        ConfigError: a budget cannot be placed, or the folder is in use; nothing has been started.
    """
    from sweeps import placement
    from sweeps.search import BudgetSearch, open_storage

    room = placement.survey(gpu_memory_bytes)
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
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(max(1, places.num_slots())))
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
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            verbose=0,
        ),
    )
    tuner.fit()


class _Progress:
    """Prints one line per finished trial."""

    def __init__(self, num_done: int, num_trials: int) -> None:
        self._num_done = num_done
        self._num_trials = num_trials

    def __call__(self, record: TrialRecord) -> None:
        self._num_done += 1
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

    for size in plan.space.choices("patch_size"):
        check(dataclasses.replace(plan.space.base, patch_size=size))
    load_dataset(plan.space.base)  # reads every image once; what it finds is kept for the trials


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


def _budgets(texts: Sequence[str]) -> tuple[int, ...]:
    """Return the budgets in bytes, ascending."""
    budgets = [parse_budget(text, "--budgets") for text in texts]
    for index, budget in enumerate(budgets):
        if budget in budgets[:index]:
            raise ConfigError(
                f"--budgets {texts[index]} is given twice ({budget} bytes); give each once"
            )
    return tuple(sorted(budgets))


def _at_least_one(option: str, number: int) -> int:
    if number < 1:
        raise ConfigError(f"{option} {number} must be at least 1; raise it")
    return number


def _with_absolute_paths(config: TrialConfig) -> TrialConfig:
    """Return `config` with paths that mean the same in every worker's directory."""
    paths: dict[str, Any] = {}
    for name in ("data_dir", "split_file", "weights"):
        value = getattr(config, name)
        if value is not None and (name != "weights" or Path(value).is_file()):
            paths[name] = str(Path(value).expanduser().absolute())
    return dataclasses.replace(config, **paths)


def _resume_command(arguments: Sequence[str] | None) -> str:
    words = [*sys.argv[:1], *(sys.argv[1:] if arguments is None else arguments)]
    return shlex.join(["python", *words, *([] if "--resume" in words else ["--resume"])])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def _parser(sweep: Sweep) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"{sweep.name}.py", description=sweep.description)
    add = parser.add_argument
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
        help="trials of the whole sweep, over all budgets "
        f"(default: {sweep.full.num_trials}; sample data: {sweep.sample.num_trials})",
    )
    add("--epochs", type=int, metavar="E", help="epochs of a trial")
    add("--image-size", type=int, metavar="PX", help="side that images are fitted into")
    add("--backbone", metavar="NAME", help="feature extractor, by its timm name")
    add("--method", metavar="M", help="how an image is trained on")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of a trial; one that the sweep would vary stays fixed",
    )
    add(
        "--out",
        metavar="RUN_DIR",
        help=f"folder of the results (default: runs/{sweep.name}); on a cluster of several nodes, "
        "one that all of them share",
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
    return parser
