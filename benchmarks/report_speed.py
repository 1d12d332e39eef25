"""How long a report takes and how large its page is; and the speed of fronts.

    python benchmarks/report_speed.py

Each report is a command of its own (`python -m analysis report`), imports included, over made-up
trials; each function of `analysis.pareto` is timed once over random points.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from analysis import pareto

ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    arguments = _parser().parse_args(argv)
    load_before = os.getloadavg()[0]
    lines = [
        "# Speed of the report",
        "",
        "`python benchmarks/report_speed.py`: the command, imports included, over made-up trials.",
        "",
        "| trials | s | page, MB |",
        "| ---: | ---: | ---: |",
        *(_report_line(count) for count in arguments.trials),
        "",
        f"Functions of `analysis.pareto` over {arguments.points:,} random points:",
        "",
        "| function | s |",
        "| --- | ---: |",
        *(f"| {name} | {_seconds(call):.2f} |" for name, call in _calls(arguments.points).items()),
        "",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load before "
        f"{load_before:.1f}; Python {platform.python_version()}, numpy {version('numpy')}, "
        f"plotly {version('plotly')}, optuna {version('optuna')}",
        "",
    ]
    report = "\n".join(lines)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "report_speed.md"
    )
    return parser


def _report_line(num_trials: int) -> str:
    sys.path.insert(0, str(ROOT / "tests"))
    from made_up_run import write_made_up_run

    with tempfile.TemporaryDirectory() as folder:
        run_dir = write_made_up_run(Path(folder) / "run", num_trials)
        command = [sys.executable, "-m", "analysis", "report", str(run_dir)]
        seconds = _seconds(
            lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        )
        size = (run_dir / "report.html").stat().st_size
    return f"| {num_trials} | {seconds:.1f} | {size / 1e6:.1f} |"


def _calls(num_points: int) -> Mapping[str, Callable[[], object]]:
    random = np.random.default_rng(0)
    metric, peak = random.random(num_points), random.random(num_points)
    at = np.linspace(0, 1, 1000)
    return {
        "non_dominated": lambda: pareto.non_dominated(metric, peak),
        "front_ranks": lambda: pareto.front_ranks(metric, peak),
        "front_steps": lambda: pareto.front_steps(metric, peak),
        "hypervolume": lambda: pareto.hypervolume(metric, peak, 0.0, 1.0),
        "hypervolume_path": lambda: pareto.hypervolume_path(metric, peak, 0.0, 1.0),
        "attainment, 5 runs": lambda: pareto.attainment(
            list(zip(np.split(metric, 5), np.split(peak, 5), strict=True)), at, 0.5
        ),
        "epsilon_indicator": lambda: pareto.epsilon_indicator((metric, peak), (peak, metric), 1.0),
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
