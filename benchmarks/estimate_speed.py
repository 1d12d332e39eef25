"""How long the estimate of the peak takes: cold, from the cache, in closed form, and for a sweep.

    python benchmarks/estimate_speed.py

One thread. Times run from after the imports until the predicted peak and the predicted reserved
bytes are there. Cold: a fresh process and an empty cache. The sweep: configurations drawn from the
space of `sweeps/panda_budget.py`, one after the other in one process that starts with an empty
cache. Prints a table and writes it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import torch

from patchtrain.config import TrialConfig
from patchtrain.memory.estimate import estimate
from sweeps.panda_budget import SWEEP
from sweeps.spaces import Space, patch_sizes, patch_space

COLD_GOAL_S = 3.0
KNOWN_GOAL_S = 0.02
SWEEP_GOAL_S = 60.0

PAPERS_LARGEST = {
    "image_size": 4096,
    "patch_size": 256,
    "sampling_rate": 0.07,
    "inner_iterations": 11,
    "backbone": "resnet50",
    "aggregator": "same",
    "batch_size": 4,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Time everything and report."""
    arguments = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    load_before = os.getloadavg()[0]
    lines = []
    for device in ("cpu", "cuda"):
        config = TrialConfig(**PAPERS_LARGEST, device=device)  # type: ignore[arg-type]
        lines += _one_configuration(config, arguments.rounds)
    for microbatch, num in (("none", arguments.num), ("auto", arguments.num_auto)):
        if num:
            with _empty_cache():
                result = _in_fresh_process(_sweep, num, arguments.seed, microbatch)
            lines += _sweep_lines(result, microbatch)
            print("\n".join(lines[-4:]), flush=True)
    report = _report(lines, load_before)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=1000, help="configurations of the sweep")
    parser.add_argument(
        "--num-auto", type=int, default=100, help="of the sweep with patch_microbatch=auto"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what the sweep draws")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "estimate_speed.md"
    )
    return parser


@dataclass(frozen=True)
class Timed:
    """One estimate and the time it took."""

    peak_s: float
    """Until `predicted_peak_bytes` was there."""
    all_s: float
    """Until `predicted_reserved_bytes` was there too."""
    source: str


def _one_configuration(config: TrialConfig, num_rounds: int) -> list[str]:
    """Return rows of the table for `config`: cold, from disk, known to the process, closed form."""
    cold, from_disk, known, closed, closed_from_disk = ([] for _ in range(5))
    other, new = replace(config, sampling_rate=0.1), replace(config, sampling_rate=0.05)
    for _ in range(num_rounds):
        with _empty_cache():
            cold.append(_in_fresh_process(_timed, [config])[0])
            from_disk.append(_in_fresh_process(_timed, [config])[0])
            once, again, _, unseen = _in_fresh_process(_timed, [config, config, other, new])
            known.append(again)
            closed.append(unseen)
            assert once.source == again.source == "cache"
            closed_from_disk.append(_in_fresh_process(_timed, [new])[0])
            print(f"{config.device}: cold {cold[-1].all_s:.2f} s", flush=True)
    return [
        _line(f"{config.device}: cold", cold, "dry run", COLD_GOAL_S),
        _line(f"{config.device}: from the disk cache, fresh process", from_disk, "cache"),
        _line(f"{config.device}: again in the same process", known, "cache", KNOWN_GOAL_S),
        _line(f"{config.device}: new k in the same process", closed, "closed form", KNOWN_GOAL_S),
        _line(
            f"{config.device}: new k from the disk cache, fresh process",
            closed_from_disk,
            "closed form",
        ),
    ]


def _line(name: str, timed: Sequence[Timed], source: str, goal_s: float | None = None) -> str:
    assert all(one.source == source for one in timed), (name, timed)
    peak_s = statistics.median(one.peak_s for one in timed)
    all_s = [one.all_s for one in timed]
    goal = "" if goal_s is None else f"{_milliseconds(goal_s)}: {_kept(all_s, goal_s)}"
    return (
        f"| {name} | {_milliseconds(peak_s)} | {_milliseconds(statistics.median(all_s))} | "
        f"{_milliseconds(min(all_s))} to {_milliseconds(max(all_s))} | {goal} |"
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms" if seconds < 1 else f"{1000 * seconds:,.0f} ms"


def _kept(seconds: Sequence[float], goal_s: float) -> str:
    return "kept" if statistics.median(seconds) < goal_s else "missed"


@contextmanager
def _empty_cache() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PATCHTRAIN_CACHE"] = folder
        yield


def _in_fresh_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def _timed(configs: Sequence[TrialConfig]) -> list[Timed]:
    """Estimate `configs` one after the other."""
    torch.set_num_threads(1)
    return [_timed_one(config) for config in configs]


def _timed_one(config: TrialConfig) -> Timed:
    started = time.perf_counter()
    found = estimate(config)
    assert found.predicted_peak_bytes
    peak_s = time.perf_counter() - started
    assert found.predicted_reserved_bytes
    return Timed(peak_s, time.perf_counter() - started, found.source)


@dataclass(frozen=True)
class SweepTimes:
    """Many configurations, one after the other."""

    num: int
    total_peaks_s: float
    """Of all estimates, until each `predicted_peak_bytes` was there."""
    total_s: float
    """With `predicted_reserved_bytes` of each."""
    sources: Counter[str]
    seconds_by_source: dict[str, float]
    num_distinct: int


def _sweep(num: int, seed: int, microbatch: str) -> SweepTimes:
    torch.set_num_threads(1)
    configs = _drawn(num, seed, microbatch)
    timed = [_timed_one(config) for config in configs]
    by_source: dict[str, float] = Counter()
    for one in timed:
        by_source[one.source] += one.peak_s
    return SweepTimes(
        num=num,
        total_peaks_s=sum(one.peak_s for one in timed),
        total_s=sum(one.all_s for one in timed),
        sources=Counter(one.source for one in timed),
        seconds_by_source=dict(by_source),
        num_distinct=len(
            {(c.patch_size, c.num_sampled, c.fusion, c.inner_iterations) for c in configs}
        ),
    )


def _drawn(num: int, seed: int, microbatch: str) -> list[TrialConfig]:
    """Return `num` random draws from the sweep's space, the budgets in turn."""
    space = _space(microbatch)
    budgets = [8 * 10**9] if microbatch == "none" else [4 * 10**9, 8 * 10**9, 16 * 10**9]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    draws = [study.ask(space.distributions).params for _ in range(num)]
    return [space.config(params, budgets[i % len(budgets)]) for i, params in enumerate(draws)]


def _space(microbatch: str) -> Space:
    settings = {**SWEEP.full.settings, "patch_microbatch": microbatch, "device": "cuda"}
    smallest = patch_sizes(settings["image_size"])[0]
    base = TrialConfig.from_mapping({**settings, "patch_size": smallest})
    return patch_space(base, max_inner_iterations=SWEEP.full.max_inner_iterations)


def _sweep_lines(result: SweepTimes, microbatch: str) -> list[str]:
    goal = ""
    if microbatch == "none":
        goal = f"{SWEEP_GOAL_S:.0f} s: {_kept([result.total_peaks_s], SWEEP_GOAL_S)}"
    sources = ", ".join(
        f"{count} {name} ({result.seconds_by_source[name]:.1f} s)"
        for name, count in result.sources.most_common()
    )
    return [
        f"| {result.num:,} configurations of the sweep, patch_microbatch={microbatch}: "
        f"{result.num_distinct} distinct; {sources} | {result.total_peaks_s:.1f} s | "
        f"{result.total_s:.1f} s | | {goal} |"
    ]


def _report(rows: Sequence[str], load_before: float) -> str:
    found = {name: version(name) for name in ("torch", "timm", "numpy")}
    versions = json.dumps({"python": platform.python_version(), **found, "threads": 1})
    one = ", ".join(f"{name} {value}" for name, value in PAPERS_LARGEST.items())
    lines = [
        "# How long the estimate takes",
        "",
        f"One configuration: {one}, trained on the device named; medians. No device is needed for "
        "the estimate, which runs on one core in every row.",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before the first "
        f"run; {versions}",
        "",
        "| what | until the peak | until reserved bytes too | least to most | goal |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        "From the disk cache a fresh process also reads its own source code once, to know whether "
        "the cache is of it.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
