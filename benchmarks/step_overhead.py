"""What a step costs beyond its networks: time of a `local_global` step, and of the memory meter.

    python benchmarks/step_overhead.py

Four things run side by side, in turn, many rounds, so that a busy machine slows all alike:
- step: `Engine.train_batch` of one batch under its budget's guard: fill, sampling, host copies,
  Z, inner iterations, optimizer;
- passes: only the backbone's and the aggregator's passes of that step (the fill without gradient,
  the sampled and global patches with it) on ready tensors, and the optimizer step;
- each with the meter on and off.

Prints the medians over rounds of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from patchtrain.config import TrialConfig
from patchtrain.engine import Engine
from patchtrain.memory.guards import guard_for
from patchtrain.step.batch import HostBatch

NUM_CLASSES = 6


def main(argv: Sequence[str] | None = None) -> None:
    """Time the four in turn and print their ratios."""
    arguments = _parser().parse_args(argv)
    config = TrialConfig(
        image_size=512,
        patch_size=128,
        sampling_rate=0.2,
        inner_iterations=arguments.inner_iterations,
        backbone=arguments.backbone,
        batch_size=4,
        device=arguments.device,
    )
    runs = _runs(config)
    for run in runs.values():
        run()  # first calls choose kernels and allocate the optimizer's state
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        rounds.append({name: _seconds(run) for name, run in runs.items()})
        print(f"round {number + 1}/{arguments.rounds}", rounds[-1], flush=True)
    report = _report(config, rounds)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Ratios of a step's time.")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--inner-iterations", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "step_overhead.md"
    )
    return parser


def _runs(config: TrialConfig) -> dict[str, Callable[[], None]]:
    guard = guard_for(torch.device(config.device), None)
    with guard:
        engine = Engine(config, NUM_CLASSES, guard, batches_per_epoch=1000, epochs=1)
    random = np.random.default_rng(0)
    side = config.image_size
    images = [random.integers(0, 256, (side, side, 3), np.uint8) for _ in range(config.batch_size)]
    batch = HostBatch(images, np.arange(config.batch_size))
    generator = torch.Generator().manual_seed(0)
    passes = _passes(config, engine)

    def step(metered: bool) -> None:
        with guard if metered else nullcontext():
            engine.train_batch(batch, generator)

    def only_passes(metered: bool) -> None:
        with guard if metered else nullcontext():
            passes()

    return {
        "step, metered": lambda: step(True),
        "step": lambda: step(False),
        "passes, metered": lambda: only_passes(True),
        "passes": lambda: only_passes(False),
    }


def _passes(config: TrialConfig, engine: Engine) -> Callable[[], None]:
    """Return the step's passes alone, in chunks as large as the step's."""
    network, optimizer = engine.network, engine.optimizer
    device = torch.device(config.device)
    num_sampled = config.batch_size * config.num_sampled
    num_filled = config.batch_size * config.num_patches
    side = config.patch_size
    raw = np.random.default_rng(1).integers(0, 256, (num_filled, side, side, 3), np.uint8)
    ready = engine._feeder.pixels(raw)  # in the layout that the step uses
    targets = torch.arange(config.batch_size, device=device)
    with torch.no_grad():
        dim = network.backbone(ready[:2]).shape[1]
    latent = torch.randn(config.batch_size, dim, config.grid_size, config.grid_size, device=device)

    def run() -> None:
        network.backbone.eval()
        with torch.no_grad():
            for chunk in ready.split(num_sampled):
                network.backbone(chunk)
        network.backbone.train()
        for _ in range(config.inner_iterations):
            features = network.backbone(ready[: num_sampled + config.batch_size])
            scores = network.head(latent + features[num_sampled:, :, None, None])
            (engine.task.loss(scores, targets) + features[:num_sampled].mean()).backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def _seconds(run: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _report(config: TrialConfig, rounds: Sequence[dict[str, float]]) -> str:
    def ratio(above: str, below: str) -> str:
        values = [one[above] / one[below] for one in rounds]
        return f"{statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f}"

    rows = [
        ("step over its passes, both unmetered (goal: at most 1.15)", ratio("step", "passes")),
        ("step over its passes, both metered", ratio("step, metered", "passes, metered")),
        ("metered step over unmetered step (goal: at most 1.15)", ratio("step, metered", "step")),
        ("metered step over unmetered passes", ratio("step, metered", "passes")),
    ]
    versions = json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()})
    lines = [
        "# What a step costs beyond its networks",
        "",
        f"{config.method}, {config.backbone} twice, image {config.image_size} px, patch "
        f"{config.patch_size} px, k {config.num_sampled}, J {config.inner_iterations}, batch "
        f"{config.batch_size}, {config.device}; {len(rounds)} rounds side by side; {versions}",
        "",
        "| ratio | median | least to most |",
        "| --- | --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
