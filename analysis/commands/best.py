"""`best`: the best model in a budget, or the smallest memory that reaches a metric."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from analysis.commands.answers import as_json, details
from analysis.commands.inputs import add_runs, read_runs, size_of
from analysis.errors import InputError
from analysis.numbers.seeds import all_seeds, over_seeds
from analysis.numbers.selection import (
    BudgetAnswer,
    answer_with,
    best_per_budget,
    best_within,
    smallest_reaching,
    why_nothing_fits,
)
from analysis.runs.run import Run
from analysis.text import format_metric


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "best", help="print the best model within a budget and the command that trains it"
    )
    add_runs(parser)
    parser.add_argument(
        "--budget",
        metavar="SIZE",
        help="such as 8GB (10^9) or 8GiB (2^30); default: every budget of the run",
    )
    parser.add_argument(
        "--metric-at-least",
        type=float,
        metavar="X",
        help="print the smallest model that reaches X, within --budget if that is given",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="P",
        help="such as 0.95: compare lower bounds of the mean over seeds at that confidence "
        "(one-sided, Student's t), among configurations trained with several seeds",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object, or a list without --budget"
    )
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Print the answers; 1 where nothing fits."""
    budget_bytes = None if options.budget is None else size_of("--budget", options.budget)
    confidence, at_least = options.confidence, options.metric_at_least
    if confidence is not None and not 0 < confidence < 1:
        raise InputError(f"--confidence={confidence} must be above 0 and below 1, such as 0.95")
    if at_least is not None and not math.isfinite(at_least):
        raise InputError(f"--metric-at-least={at_least} must be a finite number")
    run = read_runs(options)
    for notice in run.notices:
        print(f"notice: {notice}", file=sys.stderr)
    if confidence is not None and not all_seeds(run):
        raise InputError(
            f"--confidence={confidence}: no configuration was trained with several seeds; "
            "run the sweep with --seeds 3, or leave it out"
        )
    answers = _answers(run, budget_bytes, at_least, confidence)
    found = any(each.trial for each in answers)
    if options.json:
        content = [as_json(each, run, confidence) for each in answers]
        is_one = budget_bytes is not None or at_least is not None
        print(json.dumps(content[0] if is_one else content, indent=2))
    elif found:
        label = None if at_least is None else f"least memory for {run.metric_name} {at_least:g}"
        print("\n\n".join(details(each, run, confidence, label) for each in answers))
    if not found:
        print(_why_not(run, budget_bytes, at_least, confidence), file=sys.stderr)
        return 1
    return 0


def _answers(
    run: Run, budget_bytes: int | None, at_least: float | None, confidence: float | None
) -> list[BudgetAnswer]:
    if at_least is not None:
        trial = smallest_reaching(run, at_least, budget_bytes=budget_bytes, confidence=confidence)
        return [answer_with(run, trial, budget_bytes)]
    budgets = run.budgets_bytes or (None,) if budget_bytes is None else (budget_bytes,)
    if confidence is None and budget_bytes is None:
        return best_per_budget(run)
    return [
        answer_with(run, best_within(run, each, confidence=confidence), each) for each in budgets
    ]


def _why_not(
    run: Run, budget_bytes: int | None, at_least: float | None, confidence: float | None
) -> str:
    best = best_within(run, budget_bytes, confidence=confidence)
    if best is None and confidence is not None:
        return (
            "no configuration that was trained with several seeds fits; leave out --confidence, or "
            "run the sweep with --seeds"
        )
    if at_least is None or best is None:
        return why_nothing_fits(run, budget_bytes)
    within = "" if budget_bytes is None else " within the budget"
    seeds = over_seeds(run, best)
    value = seeds.lower_bound(confidence) if seeds and confidence is not None else best["metric"]
    return (
        f"no completed trial reaches {run.metric_name} {at_least:g}{within}; the best reaches "
        f"{format_metric(value)}: ask for less, or search on"
    )
