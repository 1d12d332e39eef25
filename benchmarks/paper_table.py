"""The paper's PANDA rows (Table I): what they need at once, under a budget, and at the very least.

    python benchmarks/paper_table.py

Predicts the peak of each of the paper's own rows: in one shot, with the largest chunks that a
budget holds, and with the smallest chunks. Counts what chunks cost in passes. Then runs the
smallest row for real on the CPU in every form, in turn in one process, each under a budget of
exactly its prediction, and the largest row under the budget. Prints tables and writes them.

Shapes: B batch, m n grid, k sampled patches, J inner iterations.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from analysis.reference import ReferencePoint, load_reference
from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.engine import Engine
from patchtrain.estimation.peak import Estimate
from patchtrain.estimation.predict import estimate, fixed_bytes
from patchtrain.memory.budget import MemoryGuard, Peak
from patchtrain.step.batch import HostBatch
from patchtrain.units import parse_budget

BACKWARD_IN_FORWARDS = 2
"""What a backward pass costs, assumed: the gradient of inputs and that of weights."""


def main(argv: Sequence[str] | None = None) -> None:
    """Predict, count, run and report."""
    arguments = _parser().parse_args(argv)
    load_before = os.getloadavg()[0]
    budget_bytes = parse_budget(arguments.budget)
    rows = []
    for paper in (row for row in load_reference("panda") if row.method == "local_global"):
        rows.append(_forms(paper, budget_bytes))
        print(_memory_line(rows[-1]), flush=True)
    smallest = min(rows, key=lambda row: row.one_shot.config.image_size)
    timed = _run_in_turn(_timed_forms(smallest), arguments.rounds)
    large = None if arguments.skip_large else _run_large(rows[-1].under_budget, budget_bytes)
    report = _report(arguments.budget, rows, smallest, timed, large, load_before)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--budget", default="4GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--skip-large", action="store_true", help="do not run the largest row for real (minutes)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "paper_table.md"
    )
    return parser


@dataclass(frozen=True)
class Forms:
    """One row of the paper, predicted in several forms."""

    papers_peak_gb: str
    one_shot: Estimate
    one_shot_on_cuda: Estimate
    under_budget: Estimate
    """With the chunk that `auto` chooses for the budget."""
    one_image: Estimate
    """Batch norm as the paper has it: chunks of one image."""
    one_shot_group: Estimate
    """Group norm in its place, in one shot."""
    one_patch: Estimate
    """Group norm, chunks of one patch."""
    floor_bytes: int
    """Parameters, gradients and optimizer state."""


def _forms(paper: ReferencePoint, budget_bytes: int) -> Forms:
    config = TrialConfig(
        image_size=paper.image_height,
        patch_size=paper.patch_size,
        sampling_rate=paper.sampling_rate,
        inner_iterations=paper.inner_iterations,
        backbone=paper.backbone,
        aggregator="same",
        fusion="add",
        global_pass="joint",
        batch_size=4,
        device="cpu",
    )
    group = replace(config, norm="group")
    return Forms(
        papers_peak_gb=f"{paper.peak_bytes / 10**9:g}",
        one_shot=estimate(config),
        one_shot_on_cuda=estimate(replace(config, device="cuda")),
        under_budget=estimate(replace(config, patch_microbatch="auto", budget=budget_bytes)),
        one_image=estimate(replace(config, patch_microbatch=1)),
        one_shot_group=estimate(group),
        one_patch=estimate(replace(group, patch_microbatch=1)),
        floor_bytes=fixed_bytes(config),
    )


def _forward_equivalents(config: TrialConfig) -> int:
    """Return the passes of patches through the backbone that a batch costs, in forward passes."""
    filled = config.batch_size * config.num_patches
    inputs = config.batch_size * config.inputs_per_image
    forwards = 1 if config.patch_microbatch == "none" else 2
    per_iteration = inputs * (forwards + BACKWARD_IN_FORWARDS)
    return filled + config.inner_iterations * per_iteration


def _cost(form: Estimate, one_shot: Estimate) -> float:
    return _forward_equivalents(form.config) / _forward_equivalents(one_shot.config)


def _timed_forms(row: Forms) -> dict[str, Estimate]:
    return {
        "batch norm, one shot": row.one_shot,
        "batch norm, chunks of one image": row.one_image,
        "group norm, one shot": row.one_shot_group,
        "group norm, chunks of one patch": row.one_patch,
    }


@dataclass(frozen=True)
class Run:
    """A form that was run under a budget of exactly its prediction."""

    form: Estimate
    peak: Peak
    seconds: tuple[float, ...]
    """Of each round's batch."""
    cpu_seconds: tuple[float, ...]


class _Training:
    """A form with its own engine and budget."""

    def __init__(self, form: Estimate, inner_iterations: int | None = None) -> None:
        config = form.config
        if inner_iterations is not None:
            config = replace(config, inner_iterations=inner_iterations)
        self._config = config
        self._form = form
        self.guard = MemoryGuard(torch.device("cpu"), form.predicted_peak_bytes)
        with self.guard:
            self._engine = Engine(
                config,
                num_classes(config),
                self.guard,
                batches_per_epoch=1000,
                epochs=1,
            )
        self._generator = torch.Generator().manual_seed(0)
        self._seconds: list[float] = []
        self._cpu_seconds: list[float] = []

    def train(self, batch: HostBatch) -> None:
        """Train on a batch."""
        with self.guard:
            self._engine.train_batch(batch, self._generator)

    def train_timed(self, batch: HostBatch) -> None:
        """Train on a batch and note the time."""
        started, cpu_started = time.perf_counter(), time.process_time()
        self.train(batch)
        self._seconds.append(time.perf_counter() - started)
        self._cpu_seconds.append(time.process_time() - cpu_started)

    def predict(self, batch: HostBatch) -> None:
        """Validate on a batch."""
        with self.guard:
            self._engine.predict(batch)

    def result(self) -> Run:
        """Return what was measured."""
        return Run(self._form, self.guard.peak(), tuple(self._seconds), tuple(self._cpu_seconds))


def _run_in_turn(forms: Mapping[str, Estimate], num_rounds: int) -> dict[str, Run]:
    torch.set_num_threads(1)
    config = next(iter(forms.values())).config
    batch = _batch(config.batch_size, config.image_size)
    trainings = {name: _Training(form) for name, form in forms.items()}
    for training in trainings.values():
        training.train(batch)  # brings the optimizer's state into being
    for number in range(num_rounds):
        for training in trainings.values():
            training.train_timed(batch)
        print(f"round {number + 1}/{num_rounds}", flush=True)
    for training in trainings.values():
        training.predict(batch)
    return {name: training.result() for name, training in trainings.items()}


def _run_large(form: Estimate, budget_bytes: int) -> Run:
    """Run `form` for one inner iteration a batch, on which its peak does not depend: a batch of one
    image, which brings the optimizer's state into being, and a whole batch.
    """
    torch.set_num_threads(1)
    assert form.predicted_peak_bytes <= budget_bytes
    training = _Training(form, inner_iterations=1)
    side = form.config.image_size
    training.train(_batch(1, side))
    print("largest row: first step done", flush=True)
    training.train_timed(_batch(form.config.batch_size, side))
    return training.result()


def _batch(num_images: int, side_px: int) -> HostBatch:
    pixels = np.random.default_rng(0)
    images = [pixels.integers(0, 256, (side_px, side_px, 3), np.uint8) for _ in range(num_images)]
    return HostBatch(images, np.arange(num_images))


def _memory_line(row: Forms) -> str:
    config = row.one_shot.config
    chunk = str(row.under_budget.config.patch_microbatch)
    if chunk != "none":
        images = int(chunk) // config.inputs_per_image
        chunk += f" = {images} image{'s' if images > 1 else ''}"
    cells = [
        *_shape(config),
        row.papers_peak_gb,
        _gb(row.one_shot.predicted_peak_bytes),
        _gb(row.one_shot_on_cuda.predicted_reserved_bytes),
        f"{_gb(row.under_budget.predicted_peak_bytes)} ({chunk})",
        _gb(row.one_image.predicted_peak_bytes),
        _gb(row.one_patch.predicted_peak_bytes),
        _gb(row.floor_bytes),
    ]
    return _line(cells)


def _cost_line(row: Forms) -> str:
    config = row.one_shot.config
    forms = (row.under_budget, row.one_image, row.one_patch)
    cells = [
        *_shape(config),
        f"{_forward_equivalents(config):,}",
        *(f"{_cost(form, row.one_shot):.3f}" for form in forms),
    ]
    return _line(cells)


def _shape(config: TrialConfig) -> list[str]:
    shape = (config.image_size, config.patch_size, config.num_sampled, config.inner_iterations)
    return [str(value) for value in shape]


def _timed_lines(timed: Mapping[str, Run]) -> list[str]:
    base = next(iter(timed.values()))
    lines = []
    for name, run in timed.items():
        own = timed[name.partition(",")[0] + ", one shot"]
        ratio = f"{_ratio(run.cpu_seconds, own.cpu_seconds):.3f}"
        counted = f"{_cost(run.form, own.form):.3f}"
        cells = [
            name,
            str(run.form.predicted_peak_bytes),
            str(run.peak.allocated_bytes),
            _verdict(run),
            f"{run.peak.allocated_bytes / base.peak.allocated_bytes:.3f}",
            f"{statistics.median(run.seconds):.2f}",
            f"{statistics.median(run.cpu_seconds):.2f}",
            ratio,
            counted,
        ]
        lines.append(_line(cells))
    return lines


def _verdict(run: Run) -> str:
    same = run.form.predicted_peak_bytes == run.peak.allocated_bytes
    return "equal" if same else "differs"


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: str, lines: Sequence[str]) -> list[str]:
    separator = _line(["---"] * len(header.split(" | ")))
    return [f"| {header} |", separator, *lines, ""]


def _report(
    budget: str,
    rows: Sequence[Forms],
    smallest: Forms,
    timed: Mapping[str, Run],
    large: Run | None,
    load_before: float,
) -> str:
    found = {name: version(name) for name in ("torch", "timm")}
    versions = json.dumps({"python": platform.python_version(), **found, "threads": 1})
    shape = "image px | patch px | k | J"
    num_rounds = len(next(iter(timed.values())).seconds)
    under = smallest.under_budget.config.patch_microbatch
    lines = [
        "# The paper's PANDA rows under a budget",
        "",
        "Table I, `local_global`, resnet50 as both networks, batch 4, AdamW, fp32. GB = 10^9 "
        f"bytes. {platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before the "
        f"first run; {versions}",
        "",
        "## Peak in GB",
        "",
        "Tensors, as the meter counts them on the CPU; the column of CUDA is what torch's "
        "allocator is predicted to hold there, without the context. Chunks never change the "
        "gradient. A chunk of batch norm is at least one image's inputs (k patches and the global "
        "one); with group norm in its place it may be one patch.",
        "",
        *_table(
            f"{shape} | the paper's GB(peak) | one shot | one shot, reserved on CUDA | "
            f"auto under {budget} (chunk) | smallest, batch norm | smallest, group norm | "
            "floor: parameters, gradients, optimizer",
            [_memory_line(row) for row in rows],
        ),
        "The paper does not say how it measured; its numbers are of CUDA, in whole GB.",
        "",
        "## Cost in passes",
        "",
        "Patches through the backbone per batch, counted in forward passes, a backward pass "
        f"counted as {BACKWARD_IN_FORWARDS}: the fill, B*mn; each of J inner iterations, B(k+1) "
        "inputs forward and backward, in chunks one more time forward. The aggregator is not "
        "counted.",
        "",
        *_table(
            f"{shape} | one shot, forward passes | auto under {budget} | smallest, batch norm | "
            "smallest, group norm",
            [_cost_line(row) for row in rows],
        ),
        f"## Measured: the {smallest.one_shot.config.image_size} px row on the CPU",
        "",
        "Each form ran under a budget of exactly its predicted peak, all in turn in one process: "
        f"one batch for the optimizer's state, {num_rounds} timed rounds, a validation. `auto` "
        f"under {budget} takes patch_microbatch={under} here. Medians; ratios of CPU time within a "
        "round, which a busy machine disturbs least. The count leaves out what a pass costs "
        "whatever it runs on; passes of one patch, the fill's too, feel it most.",
        "",
        *_table(
            "form | predicted bytes | metered bytes | they are | peak over one shot | "
            "s per batch | CPU s per batch | CPU time over one shot of its norm | counted",
            _timed_lines(timed),
        ),
    ]
    if large is not None:
        lines += _large_lines(large, budget)
    return "\n".join(lines).rstrip() + "\n"


def _large_lines(large: Run, budget: str) -> list[str]:
    config = large.form.config
    cells = [
        str(large.form.predicted_peak_bytes),
        str(large.peak.allocated_bytes),
        _verdict(large),
        f"{large.seconds[0]:.0f}",
        f"{large.cpu_seconds[0]:.0f}",
    ]
    return [
        f"## Measured: the {config.image_size} px row, patch {config.patch_size} px, under "
        f"{budget} on the CPU",
        "",
        f"patch_microbatch={config.patch_microbatch} as `auto` chose, J 1 instead of "
        f"{config.inner_iterations} (the peak does not depend on it), after a first step on one "
        "image, without validation; the budget was exactly the prediction.",
        "",
        *_table("predicted bytes | metered bytes | they are | s per batch | CPU s", [_line(cells)]),
    ]


if __name__ == "__main__":
    main()
