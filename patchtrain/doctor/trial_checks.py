"""Checks that run trials: predictions, `auto`, exact chunks, overruns, the watchdog's cost."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import torch

from patchtrain.config import TrialConfig
from patchtrain.doctor.finding import Finding, failed, judged, passed, skipped, warned
from patchtrain.doctor.trials import build_engine, gradients, random_batch, train, trial
from patchtrain.estimation.predict import estimate
from patchtrain.memory.driver import Gpu
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.facts import ASSUMED
from patchtrain.memory.guards import guard_for
from patchtrain.units import format_bytes

SMALL = "resnet18, group norm, chunks of 8"
"""The trial of `TRIALS` that most checks use; it takes less than 1 GB besides the context."""

AUTO_BUDGET_BYTES = 4 * 10**9
_RESERVED_TOO_HIGH = (1.05, 40 * 2**20)
"""A prediction may be higher by this factor, or by this many bytes."""
_MAX_GRADIENT_ERROR = 1e-3
"""Of chunks against one pass, in fp32 with convolutions that round differently for each size."""
_SLOW_WATCHDOG = 1.05
_NUM_TIMED = 10

_REPORT = "please report it, with the JSON of this check"


def prediction(name: str, device: torch.device) -> Finding:
    """Compare what a trial of `TRIALS` was predicted to hold with what it held."""
    config = trial(name)
    guard = guard_for(device, None, config.precision)
    predicted = estimate(config, facts=guard.facts)
    train(config, guard)
    peak = guard.peak()
    assert peak.reserved_bytes is not None
    factor, more_bytes = _RESERVED_TOO_HIGH
    held, most = peak.reserved_bytes, predicted.predicted_reserved_bytes
    told = f"reserved {format_bytes(held)} of {format_bytes(most)} predicted"
    figures = {
        "predicted_reserved_bytes": most,
        "reserved_bytes": held,
        "predicted_tensor_bytes": predicted.predicted_peak_bytes,
        "allocated_bytes": peak.allocated_bytes,
        "needed_bytes": predicted.needed_bytes,
        "process_bytes": peak.process_bytes,
    }
    if held > most:
        return failed(f"{told}: too low by {format_bytes(held - most)}", _REPORT, **figures)
    if peak.process_bytes is not None and peak.process_bytes > predicted.needed_bytes:
        over = format_bytes(peak.process_bytes - predicted.needed_bytes)
        return failed(f"the process held {over} more than needed_bytes", _REPORT, **figures)
    is_assumed = guard.facts is None or guard.facts.workspace_bytes == ASSUMED.workspace_bytes
    if is_assumed:  # nobody has measured the workspace yet
        more_bytes += ASSUMED.workspace_bytes
    if most > max(factor * held, held + more_bytes):
        return warned(f"{told}: a loose prediction", "budgets will be used less", **figures)
    return passed(told, **figures)


def auto(device: torch.device) -> Finding:
    """Train with the chunk that `auto` chooses under 4 GB."""
    config = trial(
        "resnet50",
        image_size=2048,
        batch_size=4,
        norm="group",
        patch_microbatch="auto",
        budget=AUTO_BUDGET_BYTES,
    )
    free_bytes = Gpu(device).free_bytes()
    if free_bytes is not None and free_bytes < AUTO_BUDGET_BYTES:
        return skipped(f"only {format_bytes(free_bytes)} of the 4GB are free")
    guard = guard_for(device, config.budget, config.precision)
    chosen = estimate(config, facts=guard.facts)
    chunk = chosen.config.patch_microbatch
    try:
        train(chosen.config, guard)
    except BudgetExceeded as error:
        return failed(f"chose chunks of {chunk}, which did not fit: {error}", _REPORT)
    peak = guard.peak()
    told = f"chunks of {chunk}; the process held {format_bytes(peak.process_bytes)} of 4GB"
    fits = peak.process_bytes is None or peak.process_bytes <= AUTO_BUDGET_BYTES
    return judged(fits, told, _REPORT, chunk=chunk, process_bytes=peak.process_bytes)


def exact_chunks(device: torch.device) -> Finding:
    """Compare the gradient of chunks with that of one pass, in fp32."""
    config = trial(SMALL, patch_microbatch="none", image_size=512, patch_size=128)
    found = [
        gradients(replace(config, patch_microbatch=chunk), guard_for(device, None))
        for chunk in ("none", 1)
    ]
    whole, chunked = ([gradient.double() for gradient in one] for one in found)
    size = float(torch.stack([one.norm() for one in whole]).norm())
    if size == 0:
        return skipped("all gradients are 0: this device computes nothing")
    far = torch.stack([(a - b).norm() for a, b in zip(whole, chunked, strict=True)])
    error = float(far.norm()) / size
    told = f"relative error {error:.1e}"
    return judged(error <= _MAX_GRADIENT_ERROR, told, _REPORT, relative_error=error)


def overrun(device: torch.device) -> Finding:
    """Have a trial run out of its budget, then train another one in the same process."""
    ended = _outcome(_tight(device), device)
    if ended != "out of memory":
        return failed(f"a trial over its budget ended as: {ended}", _REPORT)
    after = _outcome(trial(SMALL), device)
    return judged(
        after == "completed", f"stopped; the next trial in this process: {after}", _REPORT
    )


def two_at_once(device: torch.device) -> Finding:
    """Run two trials at the same time, one of which is over its budget."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        over = pool.submit(_tight_outcome, device)
        fitting = pool.submit(_outcome, trial(SMALL), device)
        ended = (over.result(), fitting.result())
    told = f"over its budget: {ended[0]}; within: {ended[1]}"
    return judged(ended == ("out of memory", "completed"), told, _REPORT)


def watchdog_cost(device: torch.device) -> Finding:
    """Time a step with the watchdog and without."""
    config = trial(SMALL)
    guard = guard_for(device, None, config.precision)
    with guard:
        engine = build_engine(config, guard)
        batch = random_batch(config)
        engine.train_batch(batch, torch.Generator())
    guard.stop_attribution()
    step = partial(engine.train_batch, batch, torch.Generator())
    without_s = _seconds(step)
    with guard:
        with_s = _seconds(step)
    ratio = with_s / without_s
    told = f"{1000 * with_s:.1f} ms a batch with the watchdog, {1000 * without_s:.1f} ms without"
    figures = {"with_s": with_s, "without_s": without_s, "ratio": ratio}
    if ratio > _SLOW_WATCHDOG:
        return warned(told, "the driver answers slowly; trials lose this much time", **figures)
    return passed(told, **figures)


def _tight(device: torch.device) -> TrialConfig:
    """Return a trial whose budget holds the context but not its tensors."""
    config = trial(SMALL)
    guard = guard_for(device, None, config.precision)
    context_bytes = guard.facts.context_bytes if guard.facts else 0
    guard.release()
    needed_bytes = estimate(config, facts=guard.facts).predicted_peak_bytes
    return replace(config, budget=context_bytes + needed_bytes // 2)


def _tight_outcome(device: torch.device) -> str:
    return _outcome(_tight(device), device)


def _outcome(config: TrialConfig, device: torch.device) -> str:
    """Return how training ended: `completed`, `out of memory` or the error."""
    guard = guard_for(device, config.budget, config.precision)
    try:
        train(config, guard)
    except BudgetExceeded:
        return "out of memory"
    except RuntimeError as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        guard.release()
    return "completed"


def _seconds(step: Callable[[], object]) -> float:
    """Return the time of a step, in seconds; the median of several."""
    found = []
    for _ in range(_NUM_TIMED):
        torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return sorted(found)[len(found) // 2]
