"""`report`: the HTML page."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.commands.answers import summary
from analysis.commands.inputs import add_runs, keep_inputs, local_path, out_of, read_runs
from analysis.errors import InputError
from analysis.numbers.selection import best_per_budget
from analysis.runs.load import state_of
from analysis.runs.run import Run
from analysis.runs.storage import Folder
from analysis.text import status_text


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report", help="write report.html, pareto.png, pareto.svg and trials.csv"
    )
    add_runs(parser)
    parser.add_argument(
        "--out",
        type=local_path,
        metavar="DIR",
        help="folder to write to (default: the one RUN_DIR)",
    )
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="check every SECONDS (default: 30) whether the sweep has new results and draw the "
        "page again; an open page reloads itself; Ctrl-C writes it once more and stops",
    )
    parser.set_defaults(command=run_command)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 86400 seconds")
    return seconds


def run_command(options: argparse.Namespace) -> int:
    """Write the report; with --watch again and again."""
    if options.watch is None:
        _write(options)
        return 0
    try:
        watch(options)
    except KeyboardInterrupt:
        options.watch = None  # the last page does not reload itself
        try:
            _write(options)
        except InputError as error:
            print(f"not written: {error}", file=sys.stderr)
        print("watching ended")
    return 0


def watch(options: argparse.Namespace, rounds: float = float("inf")) -> None:
    """Write the report whenever the runs have changed; stop after `rounds` checks.

    What cannot be read is reported and tried again: the sweep may not have written it yet.
    """
    folders = [Folder(each) for each in options.run_dirs]
    seen: object = None
    while rounds > 0:
        try:
            now = _state_of(options, folders)
            if now is None or now != seen:
                _write(options)
                seen = now
        except (InputError, OSError) as error:
            print(f"not yet: {error}", file=sys.stderr, flush=True)
        rounds -= 1
        if rounds > 0:
            time.sleep(options.watch)


def _state_of(options: argparse.Namespace, folders: Sequence[Folder]) -> object:
    """Return a value that changes with the runs; None if that is unknown."""
    others = []
    for each in (options.from_csv, options.from_optuna):
        text = "" if each is None else str(each)
        path = Path(text.removeprefix("sqlite:///"))
        if text and not path.is_file():
            return None
        others.append(path.stat().st_mtime_ns if text else None)
    return [state_of(folder) for folder in folders], others


def _write(options: argparse.Namespace) -> None:
    run = read_runs(options)
    out = out_of(options, run)
    from analysis.page.report import OUTPUTS, write_report

    keep_inputs(options, run, out, OUTPUTS)

    page = write_report(run, out, watch_s=options.watch)
    _print_summary(run)
    print(f"report: {page}", flush=True)


def _print_summary(run: Run) -> None:
    counts = run.trials["status"].value_counts(sort=True).to_dict()
    told = ", ".join(f"{count} {status_text(str(status))}" for status, count in counts.items())
    print(f"{len(run.trials)} trials{': ' if counts else ''}{told}")
    for notice in run.notices:
        print(f"notice: {notice}")
    if run.data_is_sample:
        print("SAMPLE DATA: these results say nothing about the real data set")
    for each in best_per_budget(run):
        print(summary(each, run))
