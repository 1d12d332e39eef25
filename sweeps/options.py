"""The options of a sweep script. Knows nothing of what they lead to; `plan` checks their values."""

from __future__ import annotations

import argparse

from patchtrain.arguments import Parser
from patchtrain.extension import FORM
from sweeps.presets import Sweep
from sweeps.search.samplers import DEFAULT_SAMPLER, SAMPLERS
from sweeps.search.scheduler import SCHEDULERS
from sweeps.search.settings import SEARCHABLE
from sweeps.tracking.trackers import TRACKERS


def parser(sweep: Sweep) -> argparse.ArgumentParser:
    """Return the parser of a sweep script; it raises `ConfigError`, and `--help` exits."""
    made = Parser(prog=f"{sweep.name}.py", description=sweep.description)
    _add_trials(made, sweep)
    _add_search(made)
    _add_run(made, sweep)
    return made


def _add_trials(parser: argparse.ArgumentParser, sweep: Sweep) -> None:
    """Add the options that say what trials train on, and how."""
    add = parser.add_argument
    add(
        "--data-dir",
        metavar="DIR",
        help="folder of the data set (default: small generated sample data)",
    )
    add(
        "--budgets",
        nargs="+",
        metavar="SIZE",
        help="memory budgets, such as 4GB (10^9 bytes) or 4GiB (2^30 bytes) "
        f"(default: {' '.join(sweep.full.budgets)}; sample data: {' '.join(sweep.sample.budgets)})",
    )
    add(
        "--num-trials",
        type=int,
        metavar="N",
        help="trials to launch over all budgets; those predicted not to fit do not count "
        f"(default: {sweep.full.num_trials}; sample data: {sweep.sample.num_trials})",
    )
    add("--epochs", type=int, metavar="E", help="epochs of each trial")
    add("--image-size", type=int, metavar="PX", help="side that images are fitted into")
    add(
        "--backbone",
        metavar="NAME",
        help="feature extractor: a timm name, or unet, deeplabv3, unet_plain for segmentation",
    )
    add("--method", metavar="M", help="how to train on an image")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting of a trial; a setting that the sweep would vary stays fixed",
    )
    add("--seed", type=int, metavar="S", help="seed of the search and the trials")
    add(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that cannot be read; their number is recorded",
    )
    add("--drop-duplicates", action="store_true", help="of images with the same pixels, keep one")


def _add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the search tries, and in which order."""
    add = parser.add_argument
    add(
        "--vary",
        action="append",
        default=[],
        metavar="NAME[=VALUES]",
        help="also vary this setting, or vary it over other values: A,B,C or LOW:HIGH; "
        f"one of {', '.join(SEARCHABLE)}",
    )
    add(
        "--sampler",
        default=DEFAULT_SAMPLER,
        metavar="NAME",
        help=f"what proposes configurations: {', '.join(SAMPLERS)}, or your own as {FORM} "
        f"(default: {DEFAULT_SAMPLER})",
    )
    add(
        "--scheduler",
        default="none",
        metavar="NAME",
        help=f"early stopping within a budget: {', '.join(SCHEDULERS)}; asha ranks by metric, "
        "mo-asha by metric and peak (default: none)",
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
        help="afterwards, train each Pareto-front configuration with N seeds in all (default: 1)",
    )


def _add_run(parser: argparse.ArgumentParser, sweep: Sweep) -> None:
    """Add the options that say where the sweep runs, and where its results go."""
    add = parser.add_argument
    add(
        "--tracker",
        metavar="NAME",
        help=f"also report to {' or '.join(TRACKERS)}, besides TensorBoard",
    )
    add(
        "--out",
        metavar="RUN_DIR",
        help=f"folder for the results (default: runs/{sweep.name}; in the home folder for a "
        "submitted job); on a cluster of several nodes, a folder that all nodes share",
    )
    add("--resume", action="store_true", help="continue the sweep in RUN_DIR")
    add(
        "--retry-failed",
        action="store_true",
        help="with --resume: run every failed trial again, not only those that failed for a reason "
        "outside them",
    )
    add(
        "--address",
        metavar="A",
        help="Ray cluster: host:port or auto (default: this machine)",
    )
    add(
        "--max-concurrent",
        type=int,
        metavar="K",
        help="most trials at the same time (default: as many as fit)",
    )
    add(
        "--gpu-memory",
        metavar="SIZE",
        help="memory of a GPU (default: ask the cluster)",
    )
    add(
        "--smoke-test",
        action="store_true",
        help="run a few tiny trials, to see that everything works",
    )
