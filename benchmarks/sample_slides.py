"""What context and fine detail are worth on generated slides: accuracy by method, over seeds.

    python benchmarks/sample_slides.py

Each seed draws other slides, other weights and another order. All methods see the same slides, the
same split, backbone, epochs and budget. Prints a table and writes it with every trial's row.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, write_rows
from patchtrain.units import format_bytes, parse_budget

METHODS = ("downsampled", "patchgd", "local_global")


def main(argv: Sequence[str] | None = None) -> None:
    """Run every method on every seed and report."""
    arguments = _parser().parse_args(argv)
    jobs = [_config(arguments, method, seed) for seed in arguments.seeds for method in METHODS]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for config, row in zip(jobs, pool.map(_run, jobs), strict=True):
            rows.append(row)
            write_rows(arguments.out.with_suffix(".parquet"), TrialRecord, rows)
            print(
                f"seed {config.seed}  {config.method:12}  {row['status']}  accuracy "
                f"{row['metric']}  peak {format_bytes(row['peak_allocated_bytes'])}",
                flush=True,
            )
    report = _report(arguments, rows)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--patch-size", type=int, default=128)
    parser.add_argument("--num-images", type=int, default=216)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--sampling-rate", type=float, default=0.2)
    parser.add_argument("--inner-iterations", type=int, default=2)
    parser.add_argument("--backbone", default="test_resnet", help="a timm name")
    parser.add_argument("--aggregator", default="small_cnn")
    parser.add_argument("--budget", default="250MB")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at once")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "sample_slides.md"
    )
    return parser


def _config(arguments: argparse.Namespace, method: str, seed: int) -> TrialConfig:
    return TrialConfig(
        method=method,  # type: ignore[arg-type]
        image_size=arguments.image_size,
        patch_size=arguments.patch_size,
        sampling_rate=arguments.sampling_rate,
        inner_iterations=arguments.inner_iterations,
        backbone=arguments.backbone,
        aggregator=arguments.aggregator,
        fusion="add",
        global_pass="joint",
        epochs=arguments.epochs,
        budget=parse_budget(arguments.budget),
        sample_num_images=arguments.num_images,
        sample_seed=seed,
        val_fraction=1 / 3,
        seed=seed,
        device="cpu",
    )


def _run(config: TrialConfig) -> dict[str, Any]:
    import torch

    from patchtrain.trainer import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(config, trial_id=f"{config.method}-{config.seed}", sweep="sample_slides")
    error: Exception | None = None
    try:
        while not trainer.finished:
            epoch = trainer.run_epoch()
            print(
                f"  {trainer.trial_id} epoch {epoch.epoch} loss {epoch.train_loss:.3f} "
                f"accuracy {epoch.metric}",
                file=sys.stderr,
                flush=True,
            )
    except torch.OutOfMemoryError as caught:
        error = caught
    return trainer.record(error).to_row()


def _report(arguments: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> str:
    accuracy = {
        # a trial without a metric predicts nothing right
        method: [row["metric"] or 0.0 for row in rows if row["method"] == method]
        for method in METHODS
    }
    peak_bytes = {row["method"]: row["peak_allocated_bytes"] for row in rows}
    first = rows[0]
    lines = [
        "# Generated slides: what context and fine detail are worth",
        "",
        f"{first['num_train_images']} training and {first['num_val_images']} validation slides of "
        f"{arguments.image_size} px, patch {arguments.patch_size} px, S "
        f"{arguments.sampling_rate:.0%}, J {arguments.inner_iterations}, {arguments.backbone} + "
        f"{arguments.aggregator}, {arguments.epochs} epochs, budget {arguments.budget}; seeds "
        f"{', '.join(map(str, arguments.seeds))}. Chance is 0.167. `downsampled` has no inner "
        f"iterations, so it takes 1/{arguments.inner_iterations} of the others' optimizer steps. "
        f"CPU; {first['versions']}",
        "",
        "| method | accuracy, mean | spread (min to max) | peak |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {method} | {statistics.mean(accuracy[method]):.3f} | {min(accuracy[method]):.3f} to "
        f"{max(accuracy[method]):.3f} | {format_bytes(peak_bytes[method])} |"
        for method in METHODS
    ]
    lines.append("")
    for rival in METHODS[:-1]:
        gains = [
            100 * (ours - theirs)
            for ours, theirs in zip(accuracy["local_global"], accuracy[rival], strict=True)
        ]
        lines.append(
            f"local_global - {rival}: {statistics.mean(gains):+.1f} points, by seed "
            + ", ".join(f"{gain:+.1f}" for gain in gains)
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
