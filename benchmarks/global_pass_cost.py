"""What the global patch costs: peak and time of a step, `joint` and `filled` beside `patchgd`.

    python benchmarks/global_pass_cost.py

For the settings of each table of `global_patch.py`, a batch of random images is trained on by the
three in turn, several rounds, so that a busy machine slows all alike. Peaks are those of the CPU's
meter and must equal their estimates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from global_patch import TABLES

from patchtrain.config import TrialConfig
from patchtrain.estimation.predict import estimate
from patchtrain.testing.trials import build_engine, generator, random_batch
from patchtrain.units import format_bytes

_FORMS = {
    "patchgd": {"method": "patchgd"},
    "joint": {"global_pass": "joint"},
    "filled": {"global_pass": "filled"},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    lines = [
        "# What the global patch costs",
        "",
        "`python benchmarks/global_pass_cost.py`: tensors at the peak of a step, predicted "
        "and measured by the CPU's meter, and the time of a step over that of `joint`: median and "
        f"range of {arguments.rounds} rounds, the three in turn; "
        f"{json.dumps({'torch': torch.__version__, 'threads': arguments.threads})}",
        "",
        "| settings of | form | peak | predicted minus measured | time over joint |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in arguments.tables:
        lines += _measured(name, arguments.rounds)
        print("\n".join(lines), flush=True)
    arguments.out.write_text("\n".join([*lines, ""]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "global_pass_cost.md")
    return parser


def _measured(name: str, rounds: int) -> list[str]:
    """Return the lines of the settings of one table."""
    configs = {
        form: TrialConfig.from_mapping({**TABLES[name].settings, **settings, "device": "cpu"})
        for form, settings in _FORMS.items()
    }
    steps, peaks = {}, {}
    for form, config in configs.items():
        steps[form], peaks[form] = _step(config)
    seconds: dict[str, list[float]] = {form: [] for form in configs}
    for _ in range(rounds):
        for form, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[form].append(time.perf_counter() - started)
    lines = []
    for form, config in configs.items():
        measured = peaks[form]()
        error = estimate(config).predicted_peak_bytes - measured
        ratios = [own / joint for own, joint in zip(seconds[form], seconds["joint"], strict=True)]
        cells = (
            f"{name}, {config.fusion}",
            form,
            format_bytes(measured),
            f"{error:+}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _step(config: TrialConfig) -> tuple[Callable[[], None], Callable[[], int]]:
    """Return what trains on one batch, and what gives the largest peak until then in bytes."""
    engine, guard = build_engine(config, batches_per_epoch=100)
    batch = random_batch(config)

    def step() -> None:
        with guard:
            engine.train_batch(batch, generator())

    step()  # allocates the optimizer's state, chooses kernels
    step()
    return step, lambda: guard.peak().allocated_bytes


if __name__ == "__main__":
    main()
