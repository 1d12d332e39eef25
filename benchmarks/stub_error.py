"""Predicted against held memory on the stub device: `estimate_error.py --device stub`.

Each configuration is predicted and run in a process of its own on a CUDA device without a GPU (see
tests/cuda_stub), where torch's own allocator counts. Knows nothing of the runs on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchtrain.config import TrialConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

MAX_RUN_S = 600
MAX_TENSOR_ERROR = 0.005
MAX_RESERVED_OVER = (1.05, 40 * 2**20)
"""A prediction of reserved bytes may be higher by this factor, or by this many bytes."""
_NATIVE_EVERY = 4
"""One in so many configurations also runs on native segments."""

_HEADER = (
    "task | network | method | norm | precision | channels | chunk | segments | "
    "tensors, predicted | held | error % | reserved, predicted | held | over %"
)


def compare_on_stub(seed: int, jobs: int, only: int | None) -> str:
    """Run all configurations on the stub and return the report."""
    from cuda_stub.build import build, environment
    from stub_configurations import stub_configurations

    started = time.perf_counter()
    configs = stub_configurations(seed)[:only]
    asked = [(number, native) for number in range(len(configs)) for native in _segments(number)]
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "stub")
        own = {"PATCHTRAIN_CACHE": str(Path(folder) / "cache"), "TMPDIR": folder}
        variables = {**environment(Path(folder) / "stub", ops=True), **own}
        with ThreadPoolExecutor(jobs) as pool:
            rows = []
            for row in pool.map(lambda one: _child(seed, *one, variables), asked):
                rows.append(row)
                print(f"{len(rows)}/{len(asked)} {_line(row)}", flush=True)
    return _report(rows, seed, time.perf_counter() - started)


def _segments(number: int) -> Iterator[bool]:
    yield False
    if number % _NATIVE_EVERY == 0:
        yield True


def _child(seed: int, number: int, native: bool, variables: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, __file__, str(seed), str(number), str(int(native))]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=MAX_RUN_S)
    if done.returncode:
        raise RuntimeError(f"configuration {number}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run(seed: int, number: int, native: bool) -> dict[str, Any]:
    """Predict and run one configuration, in this process on the stub."""
    from dataclasses import replace

    import torch
    from cuda_stub.books import BOOKS
    from stub_configurations import stub_configurations

    from patchtrain.doctor.trials import train
    from patchtrain.estimation.predict import estimate
    from patchtrain.memory.facts import ASSUMED
    from patchtrain.memory.guards import guard_for

    BOOKS.finds_device = int(not native)
    torch.set_num_threads(1)
    config = stub_configurations(seed)[number]
    guard = guard_for(torch.device("cuda"), None, config.precision)
    facts = replace(guard.facts or ASSUMED, workspace_bytes=0)  # the stub's libraries take none
    predicted = estimate(config, facts=facts)
    train(config, guard, num_batches=2 * config.accumulation_steps)
    peak = guard.peak()
    return {
        "task": config.task,
        "network": config.backbone
        + (f" {config.encoder}" if config.task == "segmentation" else ""),
        "method": _method(config),
        "norm": config.norm,
        "precision": config.precision,
        "channels": "last" if config.channels_last else "first",
        "chunk": config.patch_microbatch,
        "segments": "native" if native else "growing",
        "predicted_tensors": predicted.predicted_peak_bytes,
        "tensors": _requested_bytes() if native else peak.allocated_bytes,
        "predicted_allocated": predicted.predicted_allocated_bytes,
        "allocated": peak.allocated_bytes,
        "predicted_reserved": predicted.predicted_reserved_bytes,
        "reserved": peak.reserved_bytes,
    }


def _method(config: TrialConfig) -> str:
    """Return the method and the settings of it that change what is held."""
    parts = [config.method]
    if config.task == "detection" and "layout" in config.method_facts.reads:
        parts.append(config.layout)
    if config.method == "local_global":
        parts.append(config.global_pass)
        if config.fusion_scale != "none":
            parts.append("scaled")
    return ", ".join(parts)


def _requested_bytes() -> int:
    import torch

    return torch.cuda.memory_stats()["requested_bytes.all.peak"]


def _error(row: dict[str, Any], of: str = "tensors") -> float:
    return row[f"predicted_{of}"] / row[of] - 1


def _is_loose(row: dict[str, Any]) -> bool:
    factor, more = MAX_RESERVED_OVER
    return row["predicted_reserved"] > max(factor * row["reserved"], row["reserved"] + more)


def _line(row: dict[str, Any]) -> str:
    named = ("task", "network", "method", "norm", "precision", "channels", "chunk", "segments")
    cells = [*(row[name] for name in named), row["predicted_tensors"], row["tensors"]]
    cells += [f"{100 * _error(row):+.4f}", row["predicted_reserved"], row["reserved"]]
    cells.append(f"{100 * _error(row, 'reserved'):+.2f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def _report(rows: Sequence[dict[str, Any]], seed: int, seconds: float) -> str:
    growing = [row for row in rows if row["segments"] == "growing"]
    native = [row for row in rows if row["segments"] == "native"]
    errors, native_errors = ([_error(row) for row in some] for some in (growing, native))
    apart = [abs(_error(row, "allocated")) for row in native] or [0.0]
    worst = sorted(rows, key=lambda row: abs(_error(row)), reverse=True)
    worst.sort(key=lambda row: _error(row) >= 0)  # what is too low comes first
    too_wrong = sum(abs(error) > MAX_TENSOR_ERROR for error in errors + native_errors)
    under = sum(row["predicted_reserved"] < row["reserved"] for row in rows)
    figures = {
        "tensors exact, growing segments": f"{errors.count(0.0)} of {len(growing)}",
        "tensors too low": f"{sum(error < 0 for error in errors + native_errors)} of {len(rows)}",
        f"tensors off by more than {100 * MAX_TENSOR_ERROR} %": f"{too_wrong} of {len(rows)}",
        "largest error of tensors, growing segments": f"{100 * max(map(abs, errors)):.4f} %",
        "largest error of tensors, native segments": (
            f"{100 * max(map(abs, native_errors), default=0):.4f} %"
        ),
        "largest error of allocated bytes, native segments": f"{100 * max(apart):.4f} %",
        "reserved bytes too low": f"{under} of {len(rows)}",
        "reserved bytes over by more than 5 % and 40 MiB": f"{sum(map(_is_loose, rows))}",
    }
    return "\n".join(
        [
            "# Predicted memory against torch's CUDA allocator, on the stub device",
            "",
            f"{len(rows)} runs of {len(growing)} configurations, seed {seed}, "
            f"{seconds / 60:.0f} minutes; {_versions()}. The device is a stub without a GPU: "
            "torch's allocator, autograd and autocast are real, kernels do nothing, cuDNN and "
            "cuBLAS are replaced by what they allocate, without workspace.",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {figure} |" for name, figure in figures.items()),
            "",
            "Tensors are predicted in blocks of 512 bytes. On growing segments torch hands out "
            "these. Native segments hand out blocks up to 1 MiB larger than asked for, and where "
            "the driver puts segments decides which block serves; there tensors are the bytes "
            "that torch was asked for, a little less, and the bytes that it allocates are not "
            "exact.",
            "",
            "## The 10 worst",
            "",
            *_table(worst[:10]),
            "",
            "## All",
            "",
            *_table(rows),
            "",
        ]
    )


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    separator = "| " + " | ".join("---" for _ in _HEADER.split(" | ")) + " |"
    return [f"| {_HEADER} |", separator, *map(_line, rows)]


def _versions() -> str:
    import platform
    from importlib.metadata import version

    found = {name: version(name) for name in ("torch", "timm")}
    return json.dumps({"python": platform.python_version(), **found})


if __name__ == "__main__":
    assert "CUDA_STUB" in os.environ, "run estimate_error.py --device stub"
    print(json.dumps(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")))
