"""`python -m analysis report|best`: arguments, printing and exit status, nothing else.

Exit status: 0 done; 1 nothing fits; 2 bad input, with one line on stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from analysis.load import InputError, Run, load_run
from analysis.selection import (
    BudgetAnswer,
    answer,
    best_per_budget,
    config_path,
    describe,
    format_metric,
    used_setting,
    why_nothing_fits,
)
from patchtrain.units import format_bytes, parse_bytes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except InputError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description="Turn a sweep's results into answers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    report = commands.add_parser(
        "report", help="write report.html, pareto.png, pareto.svg and trials.csv"
    )
    report.add_argument("run_dir", metavar="RUN_DIR", help="the --out folder of a sweep")
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: RUN_DIR)"
    )
    report.set_defaults(command=_report)

    best = commands.add_parser(
        "best",
        help="print the best model within a budget and the command that trains it",
    )
    best.add_argument("run_dir", metavar="RUN_DIR", help="the --out folder of a sweep")
    best.add_argument(
        "--budget",
        metavar="SIZE",
        help="such as 8GB (10^9) or 8GiB (2^30); default: every budget of the run",
    )
    best.add_argument(
        "--json",
        action="store_true",
        help="one JSON object with --budget, else a list of them",
    )
    best.set_defaults(command=_best)
    return parser


def _report(options: argparse.Namespace) -> int:
    run = load_run(options.run_dir)
    out: Path = run.directory if options.out is None else options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out}: is a file; give a folder")
    from analysis.report import status_counts, write_report

    page = write_report(run, out)
    counts = ", ".join(f"{count} {status}" for status, count in status_counts(run).items())
    print(f"{len(run.trials)} trials{': ' if counts else ''}{counts}")
    if run.data_is_sample:
        print("SAMPLE DATA: these results say nothing about the real data set")
    for each in best_per_budget(run):
        print(_summary(each))
    print(f"report: {page}")
    return 0


def _best(options: argparse.Namespace) -> int:
    budget_bytes = None if options.budget is None else _parse_budget(options.budget)
    run = load_run(options.run_dir)
    answers = best_per_budget(run) if budget_bytes is None else [answer(run, budget_bytes)]
    found = any(each.trial for each in answers)
    if options.json:
        content = [_json(each, run) for each in answers]
        print(json.dumps(content if budget_bytes is None else content[0], indent=2))
    elif found:
        print("\n\n".join(_details(each, run) for each in answers))
    if not found:
        print(why_nothing_fits(run, budget_bytes), file=sys.stderr)
        return 1
    return 0


def _parse_budget(text: str) -> int:
    try:
        return parse_bytes(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"--budget={text!r} is not a memory size; {error}") from None


def _summary(each: BudgetAnswer) -> str:
    if each.trial is None:
        return f"best in {each.budget_text}: no completed trial fits"
    return (
        f"best in {each.budget_text}: {each.trial['metric_name']} "
        f"{format_metric(each.trial['metric'])}, "
        f"peak {format_bytes(each.trial['peak_allocated_bytes'])}, "
        f"trial {each.trial['trial_id']}: {describe(each.trial)}"
        + (f"; over seeds {each.seeds}" if each.seeds else "")
    )


def _details(each: BudgetAnswer, run: Run) -> str:
    lines = [_summary(each)]
    if each.trial is None:
        lines = [f"{each.budget_text}: {why_nothing_fits(run, each.budget_bytes)}"]
    elif not config_path(run, each.trial).exists():
        lines += [
            f"  {each.command}",
            f"  (its {config_path(run, each.trial)} is missing)",
        ]
    else:
        lines.append(f"  {each.command}")
    return "\n".join(lines)


_JSON_COLUMNS = ("trial_id", "metric_name", "metric", "peak_allocated_bytes")
_JSON_SETTINGS = (
    "method",
    "backbone",
    "encoder",
    "aggregator",
    "image_size",
    "patch_size",
    "sampling_rate",
    "num_sampled",
    "inner_iterations",
    "fusion",
)


def _json(each: BudgetAnswer, run: Run) -> dict[str, Any]:
    trial = each.trial
    return {
        "budget_bytes": each.budget_bytes,
        **{name: None if trial is None else trial[name] for name in _JSON_COLUMNS},
        "seeds": None if each.seeds is None else dataclasses.asdict(each.seeds),
        "settings": (
            None if trial is None else {name: used_setting(trial, name) for name in _JSON_SETTINGS}
        ),
        "data_is_sample": run.data_is_sample,
        "command": each.command,
    }
