"""`paper`: the paper's tables, beside what a run reaches within the same memory."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.inputs import RUN_DIR_HELP
from analysis.errors import InputError
from analysis.numbers.selection import best_within
from analysis.reference import ReferencePoint, load_reference, load_tables
from analysis.runs.load import load_run
from analysis.sections.paper import paper_table
from analysis.text import format_metric
from patchtrain.units import format_bytes


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "paper", help="print the paper's tables, beside a run on the same data set"
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", nargs="?", help=RUN_DIR_HELP)
    parser.add_argument("--table", metavar="NUMBER", help="one of I to VIII (default: all)")
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Print the tables."""
    points = load_tables()
    if options.run_dir is not None:
        return _beside(options.run_dir, options.table)
    names = list(dict.fromkeys(point.table for point in points))
    for name in [options.table] if options.table else names:
        print(_markdown(_of_table(points, name)))
    return 0


def _of_table(points: tuple[ReferencePoint, ...], name: str) -> tuple[ReferencePoint, ...]:
    found = tuple(point for point in points if point.table == name)
    if not found:
        known = ", ".join(dict.fromkeys(point.table for point in points)) or "none for this data"
        raise InputError(f"--table={name}: is not a table here; give one of {known}")
    return found


def _markdown(points: tuple[ReferencePoint, ...]) -> str:
    return paper_table(points).to_markdown()


def _beside(run_dir: str, table: str | None) -> int:
    run = load_run(run_dir)
    points = load_reference(run.dataset)
    if not points:
        raise InputError(f"{run_dir}: the paper has no results on {run.dataset or 'no data set'}")
    if table:
        points = _of_table(points, table)
    print(_markdown(points))
    if run.data_is_sample:
        print("SAMPLE DATA: this run cannot be compared with the paper")
        return 0
    for point in points:
        if run.metric_name not in point.metrics or point.peak_bytes is None:
            continue
        theirs = point.metrics[run.metric_name]
        best = best_within(run, point.peak_bytes)
        ours = "no completed trial fits"
        if best is not None:
            ours = (
                f"here {format_metric(best['metric'])} ({best['metric'] - theirs:+.4f}) with "
                f"{format_bytes(best['peak_allocated_bytes'])}, trial {best['trial_id']}"
            )
        print(
            f"within {format_bytes(point.peak_bytes)} (table {point.table}, {point.label}): "
            f"{run.metric_name} {format_metric(theirs)}, {ours}"
        )
    return 0
