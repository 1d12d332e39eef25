"""What a sweep costs beyond its trials: wall time over that of the same trials in one process.

    python benchmarks/harness_overhead.py

First a sweep of 16 trials, one at a time, as a user starts it: Ray, its worker, predictions,
study, rows, checkpoints and report are in its time. Then the same 16 configurations, one after the
other in one process, by the code of `patchtrain train`. Both from a fresh interpreter, on one
thread; the sample data is made before. The metrics must be equal, trial by trial.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets import load_dataset
from patchtrain.record import read_rows

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "harness_overhead.md"
GOAL = 1.10
NUM_TRIALS = 16

_TRAIN_ALL = """
import sys
from pathlib import Path
import torch
from patchtrain.commands.train import train
torch.set_num_threads(1)
out = Path(sys.argv[1])
for config in sys.argv[2:]:
    train(Path(config), [], out / Path(config).parent.name, resume=False)
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Time both and write their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4, help="makes a trial take about 20 s")
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--rounds", type=int, default=1, help="pairs of a sweep and its trials")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)
    load_dataset(_config())  # generates the slides
    ratios, lines = [], []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            sweep_s, trials_s, trial_s = measure(Path(folder), arguments.epochs, arguments.trials)
        ratios.append(sweep_s / trials_s)
        lines.append(
            f"| {number + 1} | {sweep_s:.1f} | {trials_s:.1f} | {trial_s:.1f} | {ratios[-1]:.3f} |"
        )
        print(lines[-1], flush=True)
    arguments.out.write_text(_report(lines, ratios, arguments))


def measure(folder: Path, epochs: int, num_trials: int) -> tuple[float, float, float]:
    """Return the seconds of the sweep, of its trials in one process, and of a trial's training."""
    sweep, alone = folder / "sweep", folder / "alone"
    settings = [f"{name}={value}" for name, value in _SETTINGS.items()]
    sweep_s = _seconds(
        str(ROOT / "sweeps" / "panda_budget.py"),
        *("--out", str(sweep), "--num-trials", str(num_trials), "--budgets", "4GB"),
        *("--epochs", str(epochs), "--image-size", str(_IMAGE_SIZE), "--max-concurrent", "1"),
        *("--sampler", "random", "--vary", "inner_iterations=2,3"),
        *(word for setting in settings for word in ("--set", setting)),
    )
    configs = sorted(str(path) for path in sweep.glob("trials/*/config.yaml"))
    trials_s = _seconds("-c", _TRAIN_ALL, str(alone), *configs)
    rows = {row["trial_id"]: row for row in read_rows(sweep / "trials.parquet")}
    assert len(rows) == num_trials, f"the sweep has {len(rows)} rows"
    for trial_id, row in rows.items():
        metric = json.loads((alone / trial_id / "record.json").read_text())["metric"]
        assert metric == row["metric"], f"trial {trial_id}: {metric} alone, {row['metric']} swept"
    return sweep_s, trials_s, statistics.mean(row["train_time_s"] for row in rows.values())


_IMAGE_SIZE = 256
_SETTINGS = {
    "patch_size": 64,
    "fusion": "add",
    "sample_num_images": 144,
    "val_fraction": 0.3333,
    "batch_size": 8,
    "device": "cpu",
}


def _config() -> TrialConfig:
    return TrialConfig(image_size=_IMAGE_SIZE, **_SETTINGS)  # type: ignore[arg-type]


def _seconds(*arguments: str) -> float:
    """Run Python with `arguments` to its end; return the wall time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env=environment)
    return time.perf_counter() - start


def _report(lines: Sequence[str], ratios: Sequence[float], arguments: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "optuna"))
    return "\n".join(
        [
            "# A sweep over its trials alone",
            "",
            f"`python benchmarks/harness_overhead.py --epochs {arguments.epochs} "
            f"--rounds {arguments.rounds}`: {arguments.trials} trials, one at a time, of "
            f"{_IMAGE_SIZE} px sample slides. The sweep's time is that of the whole command.",
            "",
            "| round | sweep s | trials alone s | training of a trial s | ratio |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Median ratio {statistics.median(ratios):.3f}; goal at most {GOAL:.2f}.",
            "",
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs; "
            f"Python {platform.python_version()}, {versions}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
