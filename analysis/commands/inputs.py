"""The arguments that name the runs a command reads, and reading these runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from analysis.errors import InputError
from analysis.runs.join import join_runs
from analysis.runs.load import EPOCHS, TRIALS, load_run
from analysis.runs.run import Run
from analysis.runs.sweep import SWEEP
from patchtrain.units import parse_bytes

RUN_DIR_HELP = "the --out folder of a sweep: a path or a URI (s3://...)"


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIRs and the options that read other people's sweeps."""
    parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="*", help=RUN_DIR_HELP)
    others = parser.add_argument_group("other people's sweeps, instead of RUN_DIRs or beside them")
    others.add_argument(
        "--from-optuna",
        metavar="URL",
        help="an Optuna storage (sqlite:///study.db, or a journal file)",
    )
    others.add_argument("--study", metavar="NAME", help="which study of the storage to read")
    others.add_argument(
        "--from-csv", type=Path, metavar="FILE", help="a CSV file, one row per trial"
    )
    others.add_argument(
        "--metric",
        metavar="NAME",
        help="column, objective or user attribute that holds the metric (default: metric; in a "
        "study, the first objective that is maximised)",
    )
    others.add_argument(
        "--peak",
        metavar="NAME",
        help="the column, objective or attribute with the peak memory (default: "
        "peak_allocated_bytes; in a study, else another objective that is minimised)",
    )
    others.add_argument(
        "--peak-unit",
        metavar="SIZE",
        default="1B",
        help="the size that 1 of the peak stands for, such as 1MB",
    )
    others.add_argument(
        "--lower-is-better", action="store_true", help="for a metric such as a loss"
    )


def read_runs(options: argparse.Namespace) -> Run:
    """Return the runs that the arguments of `add_runs` name, as one.

    Raises:
        InputError: nothing is named, or something cannot be read.
    """
    runs = [load_run(each) for each in options.run_dirs]
    if options.from_optuna is not None or options.from_csv is not None:
        from analysis.runs.foreign import Names
        from analysis.runs.from_csv import run_from_csv
        from analysis.runs.from_optuna import run_from_optuna

        names = Names(
            metric=options.metric,
            peak=options.peak,
            peak_unit=options.peak_unit,
            is_lower_better=options.lower_is_better,
        )
        if options.from_optuna is not None:
            runs.append(run_from_optuna(options.from_optuna, options.study, names))
        if options.from_csv is not None:
            runs.append(run_from_csv(options.from_csv, names))
    if not runs:
        raise InputError("RUN_DIR: is missing; give the --out folder of a sweep, see --help")
    return join_runs(runs)


def local_path(text: str) -> Path:
    """Return the path to write to; refuse a URI."""
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is a URI; give a local path, then copy it there"
        )
    return Path(text)


def keep_inputs(options: argparse.Namespace, run: Run, out: Path, names: Iterable[str]) -> None:
    """Raise `InputError` if a file of `names` in `out` is one that was read.

    A report may write its own trials.csv beside the run, but never over what it was made from.
    """
    read = [Path(each) for each in (options.from_csv, options.from_optuna) if each is not None]
    for folder in run.folders.values():
        if folder.place is not None:
            read += [folder.place / name for name in (TRIALS, EPOCHS, SWEEP)]
    inputs = {path.resolve() for path in read}
    for name in names:
        if (out / name).resolve() in inputs:
            raise InputError(
                f"--out={out}: {name} there is being read and must stay; give another folder"
            )


def out_of(options: argparse.Namespace, run: Run, inside: str = "") -> Path:
    """Return the folder to write to: --out, or by default the folder of the one local run.

    Args:
        options: its `out` is --out.
        run: the run that was read.
        inside: the folder inside the run's own that is the default.

    Raises:
        InputError: there is no default, or --out is a file.
    """
    out: Path | None = options.out
    if out is None:
        folders = list(run.folders.values())
        if len(run.names) != 1 or not folders or not folders[0].is_local:
            raise InputError("--out: is missing; say which folder to write to")
        return Path(folders[0].text) / inside
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out}: is a file; give a folder")
    return out


def size_of(option: str, text: str) -> int:
    """Return the bytes of a memory size.

    Raises:
        InputError: it is not a size.
    """
    try:
        return parse_bytes(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{option}={text!r} is not a memory size; {error}") from None
