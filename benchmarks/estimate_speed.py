"""How long the estimate of the peak takes: cold, from the cache, in closed form, and for a sweep.

    python benchmarks/estimate_speed.py

One thread. Times run from after the imports until the predicted peak and the predicted reserved
bytes are there; CPU time is what an idle machine would take, and what goals are held against. Cold:
a fresh process and an empty cache. The sweep: configurations drawn from the space of
`sweeps/panda_budget.py`, one after the other in one process that starts with an empty cache. Prints
a table and writes it.
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
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is first imported

import optuna
import torch

from patchtrain.config import TrialConfig
from patchtrain.estimation.predict import estimate
from patchtrain.tasks import parts_of
from sweeps.panda_budget import SWEEP
from sweeps.search.patch_space import patch_sizes, patch_space
from sweeps.search.space import Space

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
    "fusion": "add",
    "global_pass": "joint",
    "batch_size": 4,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Time everything and report."""
    arguments = _parser().parse_args(argv)
    load_before = os.getloadavg()[0]
    lines = []
    for device, num_rounds in (("cpu", arguments.rounds), ("cuda", arguments.cuda_rounds)):
        config = TrialConfig(**PAPERS_LARGEST, device=device)  # type: ignore[arg-type]
        lines += _one_configuration(config, num_rounds)
    for microbatch, num in (("none", arguments.num), ("auto", arguments.num_auto)):
        if num:
            with _empty_cache():
                result = _in_fresh_process(_sweep, num, arguments.seed, microbatch)
            lines.append(_sweep_line(result, microbatch))
            print(lines[-1], flush=True)
    report = _report(lines, load_before)
    print(report)
    arguments.out.write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5, help="of estimates for the CPU")
    parser.add_argument("--cuda-rounds", type=int, default=5, help="of estimates for CUDA")
    parser.add_argument("--num", type=int, default=1000, help="configurations of the sweep")
    parser.add_argument(
        "--num-auto", type=int, default=20, help="of the sweep with patch_microbatch=auto"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what the sweep draws")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "estimate_speed.md"
    )
    return parser


@dataclass(frozen=True)
class Timed:
    """One estimate and the time it took."""

    peak_cpu_s: float
    """CPU time until `predicted_peak_bytes` was there."""
    cpu_s: float
    """CPU time until `predicted_reserved_bytes` was there too."""
    wall_s: float
    """Until then on the clock."""
    source: str


def _one_configuration(config: TrialConfig, num_rounds: int) -> list[str]:
    """Return rows of the table for `config`: cold, from disk, known to the process, closed form."""
    cold, from_disk, known, closed = ([] for _ in range(4))
    other, new = replace(config, sampling_rate=0.1), replace(config, sampling_rate=0.05)
    for _ in range(num_rounds):
        with _empty_cache():
            cold.append(_in_fresh_process(_timed, [config])[0])
            first, again, _, unseen = _in_fresh_process(_timed, [config, config, other, new])
            from_disk.append(first)
            known.append(again)
            closed.append(unseen)
            print(f"{config.device}: cold {cold[-1].cpu_s:.2f} s", flush=True)
    name = f"{config.device}, {num_rounds} rounds"
    return [
        _line(f"{name}: cold", cold, "dry run", COLD_GOAL_S),
        _line(f"{name}: from the disk cache, fresh process", from_disk, "cache"),
        _line(f"{name}: again in the same process", known, "cache", KNOWN_GOAL_S),
        _line(f"{name}: new k in the same process", closed, "closed form", KNOWN_GOAL_S),
    ]


def _line(name: str, timed: Sequence[Timed], source: str, goal_s: float | None = None) -> str:
    assert all(one.source == source for one in timed), (name, timed)
    cpu_s = [one.cpu_s for one in timed]
    cells = [
        name,
        _milliseconds(statistics.median(one.peak_cpu_s for one in timed)),
        _milliseconds(statistics.median(cpu_s)),
        f"{_milliseconds(min(cpu_s))} to {_milliseconds(max(cpu_s))}",
        _milliseconds(statistics.median(one.wall_s for one in timed)),
    ]
    verdicts = ["", ""]
    if goal_s is not None:
        peak_cpu_s = [one.peak_cpu_s for one in timed]
        verdicts = [_milliseconds(goal_s), f"{_kept(peak_cpu_s, goal_s)}, {_kept(cpu_s, goal_s)}"]
    return "| " + " | ".join([*cells, *verdicts]) + " |"


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
    for config in configs:
        parts_of(config)  # imports the task
    return [_timed_one(config) for config in configs]


def _timed_one(config: TrialConfig) -> Timed:
    started, cpu_started = time.perf_counter(), time.process_time()
    found = estimate(config)
    assert found.predicted_peak_bytes
    peak_cpu_s = time.process_time() - cpu_started
    assert found.predicted_reserved_bytes
    return Timed(
        peak_cpu_s=peak_cpu_s,
        cpu_s=time.process_time() - cpu_started,
        wall_s=time.perf_counter() - started,
        source=found.source,
    )


@dataclass(frozen=True)
class SweepTimes:
    """Many configurations, one after the other."""

    timed: tuple[Timed, ...]
    num_distinct: int


def _sweep(num: int, seed: int, microbatch: str) -> SweepTimes:
    torch.set_num_threads(1)
    configs = _drawn(num, seed, microbatch)
    distinct = {(c.patch_size, c.num_sampled, c.fusion, c.inner_iterations) for c in configs}
    return SweepTimes(tuple(_timed_one(config) for config in configs), len(distinct))


def _drawn(num: int, seed: int, microbatch: str) -> list[TrialConfig]:
    """Return `num` random draws from the sweep's space, the budgets in turn."""
    space = _space(microbatch)
    budgets = [8 * 10**9] if microbatch == "none" else [4 * 10**9, 8 * 10**9, 16 * 10**9]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    draws = [study.ask(space.distributions).params for _ in range(num)]
    return [space.config(params, budgets[i % len(budgets)]) for i, params in enumerate(draws)]


def _space(microbatch: str) -> Space:
    settings = {**SWEEP.full.settings, "patch_microbatch": microbatch, "device": "cuda"}
    smallest = patch_sizes(settings["image_size"])[0]
    base = TrialConfig.from_mapping({**settings, "patch_size": smallest})
    return patch_space(base, max_inner_iterations=SWEEP.full.max_inner_iterations)


def _sweep_line(result: SweepTimes, microbatch: str) -> str:
    timed = result.timed
    peak_cpu_s = sum(one.peak_cpu_s for one in timed)
    cpu_s = sum(one.cpu_s for one in timed)
    verdicts = ["", ""]
    if microbatch == "none":
        verdicts = [
            f"{SWEEP_GOAL_S:.0f} s",
            f"{_kept([peak_cpu_s], SWEEP_GOAL_S)}, {_kept([cpu_s], SWEEP_GOAL_S)}",
        ]
    cells = [
        f"{len(timed):,} configurations of the sweep ({result.num_distinct} distinct), "
        f"patch_microbatch={microbatch}: {_by_source(timed)}",
        f"{peak_cpu_s:.1f} s",
        f"{cpu_s:.1f} s",
        "",
        f"{sum(one.wall_s for one in timed):.1f} s",
    ]
    return "| " + " | ".join([*cells, *verdicts]) + " |"


def _by_source(timed: Sequence[Timed]) -> str:
    counts = Counter(one.source for one in timed)
    seconds: defaultdict[str, float] = defaultdict(float)
    for one in timed:
        seconds[one.source] += one.peak_cpu_s
    return ", ".join(f"{num} {name} ({seconds[name]:.1f} s)" for name, num in counts.most_common())


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
        "Goals are held against CPU time, as the machine was not idle. "
        f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before the first "
        f"run; {versions}",
        "",
        "| what | CPU time until the peak | until reserved bytes too | least to most | "
        "on the clock | goal | peak alone, both |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "From the disk cache a fresh process also reads its own source code once, to know whether "
        "the cache is of it. With patch_microbatch=auto each configuration asks for several "
        "estimates; its source is that of the last.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
