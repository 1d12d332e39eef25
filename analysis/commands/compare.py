"""`compare`: one run against another; the exit status makes it usable in CI."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from analysis.commands.inputs import RUN_DIR_HELP, size_of
from analysis.errors import InputError
from analysis.numbers.compare import Comparison, Difference, compare
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import Run
from analysis.text import exact_size, format_metric
from patchtrain.units import format_bytes


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare", help="compare the fronts of two runs; exit status 1 if the second is worse"
    )
    parser.add_argument("run_a", metavar="RUN_A", help=RUN_DIR_HELP)
    parser.add_argument("run_b", metavar="RUN_B")
    parser.add_argument(
        "--budgets",
        nargs="+",
        metavar="SIZE",
        default=[],
        help="where to compare (default: the budgets of both runs)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="X",
        help="how much worse the metric of RUN_B may be in any budget (default: 0)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=run_command)


def run_command(options: argparse.Namespace) -> int:
    """Print the difference in each budget; 1 where RUN_B is worse by more than the tolerance."""
    if not (math.isfinite(options.tolerance) and options.tolerance >= 0):
        raise InputError(f"--tolerance={options.tolerance} must be 0 or more")
    budgets = sorted(size_of("--budgets", text) for text in options.budgets)
    a, b = load_run(options.run_a), load_run(options.run_b)
    for notice in join_runs([a, b]).notices:  # which refuses what cannot be compared
        print(notice, file=sys.stderr)
    found = compare(a, b, budgets)
    worse = found.is_worse(options.tolerance)
    if options.json:
        print(json.dumps(_json(found, worse), indent=2))
        return int(worse)
    for each in found.differences:
        print(_line(each, a))
    print(_epsilon_line(found))
    if worse:
        print(f"RUN_B is worse by more than {options.tolerance:g}")
    return int(worse)


def _line(each: Difference, run: Run) -> str:
    budget = "no limit" if each.budget_bytes is None else exact_size(each.budget_bytes)
    gain = each.gain
    if gain is None:
        told = "neither has a model that fits"
    elif math.isinf(gain):
        told = (
            "only RUN_B has a model that fits" if gain > 0 else "only RUN_A has a model that fits"
        )
    else:
        told = f"{gain:+.4f}"
    return f"{budget}: {run.metric_name} {_side(each.a)} -> {_side(each.b)}: {told}"


def _side(trial: Any) -> str:
    if trial is None:
        return "none"
    peak = format_bytes(trial["peak_allocated_bytes"])
    return f"{format_metric(trial['metric'])} ({trial['trial_id']}, peak {peak})"


def _epsilon_line(found: Comparison) -> str:
    a, b = found.epsilon_of_a, found.epsilon_of_b
    return (
        "additive epsilon (metric points and GB that a front must be given to cover the other): "
        f"RUN_A {_epsilon(a)}, RUN_B {_epsilon(b)}"
    )


def _epsilon(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "nothing" if value < 0 else "never covers it"


def _json(found: Comparison, worse: bool) -> dict[str, Any]:
    def finite(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return {
        "budgets": [
            {
                "budget_bytes": each.budget_bytes,
                "gain": finite(each.gain),
                **{
                    side: None
                    if trial is None
                    else {
                        name: trial[name] for name in ("trial_id", "metric", "peak_allocated_bytes")
                    }
                    for side, trial in (("a", each.a), ("b", each.b))
                },
            }
            for each in found.differences
        ],
        "epsilon_of_a": finite(found.epsilon_of_a),
        "epsilon_of_b": finite(found.epsilon_of_b),
        "is_worse": worse,
    }
