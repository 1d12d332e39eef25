"""Predicts the peak of a trial before its launch; needs no data, no device and not the memory."""

from __future__ import annotations

import time
from dataclasses import replace

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.device import target_device
from patchtrain.errors import ConfigError
from patchtrain.estimation.closed_form import trace_of
from patchtrain.estimation.largest import largest_number
from patchtrain.estimation.peak import Estimate
from patchtrain.memory.driver import facts_of
from patchtrain.memory.facts import GpuFacts
from patchtrain.memory.meter import BLOCK_BYTES, rounded
from patchtrain.tasks import build_on_meta, mixes_inputs
from patchtrain.units import format_bytes


def estimate(
    config: TrialConfig, num_validated: int | None = None, facts: GpuFacts | None = None
) -> Estimate:
    """Predict the peak of `config`; `patch_microbatch: auto` is chosen to fit its budget.

    Args:
        num_validated: images of a validation batch; None: `config.batch_size`.
        facts: what the GPU takes besides tensors; None: what was measured of the GPU here, if
            there is one and it was measured, else the assumption.

    Raises:
        ConfigError: the networks cannot be built or trained.
    """
    started = time.perf_counter()
    target = target_device(config.device)
    facts = facts or facts_of(target)
    if config.patch_microbatch == "auto":
        config = _with_largest_chunk(config, num_validated, facts)
    with_gaps = target.type == "cuda" and not facts.expandable_segments
    trace, source = trace_of(
        config, num_classes(config), target, num_validated, with_gaps=with_gaps
    )
    return Estimate(config, source, time.perf_counter() - started, facts, trace, target)


def fixed_bytes(config: TrialConfig) -> int:
    """Return the bytes that training the networks of `config` always takes: parameters, gradients
    and AdamW's state. Patches, batches and chunks do not change it.
    """
    network = build_on_meta(config, num_classes(config))
    sizes = [rounded(p.numel() * p.element_size()) for p in network.parameters()]
    buffers = [rounded(b.numel() * b.element_size()) for b in network.buffers()]
    # parameter, gradient, two moments, and the number of steps that AdamW counts for each
    return 4 * sum(sizes) + sum(buffers) + BLOCK_BYTES * len(sizes)


def check_budget(config: TrialConfig) -> None:
    """Refuse a budget that cannot hold the networks and their optimizer, whatever the patches.

    Raises:
        ConfigError: says how much is needed.
    """
    if config.budget is None:
        return
    least = fixed_bytes(config)
    target = target_device(config.device)
    if target.type == "cuda":
        least += facts_of(target).context_bytes
    if config.budget < least:
        raise ConfigError(
            f"budget={format_bytes(config.budget)} is below the {format_bytes(least)} ({least} "
            f"bytes) that parameters, gradients and optimizer state of backbone="
            f"{config.backbone} and aggregator={config.aggregator} take alone; raise it, or use "
            "smaller networks"
        )


def _with_largest_chunk(
    config: TrialConfig, num_validated: int | None, facts: GpuFacts
) -> TrialConfig:
    """Return `config` with the largest chunk that fits its budget, or the smallest if none does."""
    whole = replace(config, patch_microbatch="none")
    budget_bytes = config.budget
    if budget_bytes is None:
        return whole
    all_at_once = estimate(whole, num_validated, facts)
    if all_at_once.fits(budget_bytes):
        return whole
    num_inputs = config.batch_size * config.inputs_per_image
    if mixes_inputs(config):
        if not config.samples_patches:
            return whole  # the batch is the smallest chunk
        step, most = config.inputs_per_image, config.batch_size - 1
    else:
        step, most = 1, num_inputs - 1
    if most < 1:
        return whole
    num = largest_number(
        lambda n: estimate(replace(config, patch_microbatch=n * step), num_validated, facts),
        budget_bytes,
        1,
        most,
        beyond=all_at_once,
    )
    return replace(config, patch_microbatch=(num or 1) * step)
