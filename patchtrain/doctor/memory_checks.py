"""Checks of the GPU's memory: growing segments, the context, libraries' workspace, the cap."""

from __future__ import annotations

import gc

import torch

from patchtrain.config import TrialConfig
from patchtrain.doctor.finding import Finding, judged, passed, skipped, warned
from patchtrain.doctor.trials import train, trial
from patchtrain.memory.driver import Gpu
from patchtrain.memory.facts import ASSUMED
from patchtrain.memory.guards import guard_for
from patchtrain.memory.segments import why_native
from patchtrain.units import format_bytes

_MIB = 2**20
_PAGE_BYTES = 20 * _MIB
"""Step in which torch's allocator is expected to grow."""
_BRIM_ROOM_BYTES = 1024 * _MIB
_BRIM_BLOCK_BYTES = 11 * _MIB
_NATIVE = "trials use native segments, which waste a little more"
_PRECISIONS = ("fp32", "bf16", "fp16")


def expandable_segments(device: torch.device) -> Finding:
    """Allocate with growing segments, where trials would; torch may crash here."""
    if reason := why_native(Gpu(device)):
        return warned(f"not used: {reason}", _NATIVE, expandable_segments=False, page_bytes=0)
    torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    block = torch.empty(_PAGE_BYTES + _MIB, dtype=torch.uint8, device=device)
    segments = torch.cuda.memory_snapshot()
    grows = any(segment["is_expandable"] for segment in segments)
    reserved_bytes = torch.cuda.memory_reserved(device)
    page_bytes = reserved_bytes - _PAGE_BYTES if grows else 0
    del block
    told = f"segments grow in steps of {page_bytes // _MIB} MiB" if grows else "not used by torch"
    figures = {"expandable_segments": grows, "page_bytes": page_bytes}
    if not grows:
        return warned(told, _NATIVE, **figures)
    return passed(told, **figures)


def context(device: torch.device) -> Finding:
    """Measure what the process holds outside torch's allocator, after each warm-up."""
    found: dict[str, int] = {}
    level = ""
    for precision in _PRECISIONS:
        if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            continue
        guard = guard_for(device, None, precision)
        assert guard.facts is not None
        if not guard.facts.is_measured:
            return warned(
                f"cannot be measured: {format_bytes(ASSUMED.context_bytes)} is assumed",
                "run on a GPU that no one else uses, or where the driver lists processes",
                is_measured=False,
            )
        found[precision] = guard.facts.context_by_precision[precision]
        level = "listed by the driver" if guard.facts.lists_process else "by difference"
        guard.release()
    told = ", ".join(f"{name} {format_bytes(size)}" for name, size in found.items())
    return passed(
        f"after a warm-up: {told} ({level})",
        by_precision=found,
        lists_process=level == "listed by the driver",
        is_measured=True,
    )


def workspace(device: torch.device) -> Finding:
    """Measure the scratch memory of the libraries: what torch's allocator served besides tensors,
    for two networks in both layouts.
    """
    sizes = {}
    for name in ("resnet50", "U-Net"):
        for together in (False, True):
            for precision in _PRECISIONS[: 2 if _has_bf16() else 1]:
                config = trial(name, channels_last=together, precision=precision)
                layout = "channels last" if together else "channels first"
                sizes[f"{name}, {layout}, {precision}"] = _workspace_of(config, device)
    most = max(sizes.values())
    told = f"at most {format_bytes(most)}"
    figures = {"workspace_bytes": most, "by_network": sizes}
    if most > ASSUMED.workspace_bytes:
        assumed = format_bytes(ASSUMED.workspace_bytes)
        return warned(
            f"{told}, over the {assumed} assumed elsewhere", "none: it is kept", **figures
        )
    return passed(told, **figures)


def brim(device: torch.device) -> Finding:
    """Fill the memory up to a cap, block by block, and see what the process holds."""
    probe = guard_for(device, None)
    assert probe.facts is not None
    budget_bytes = probe.facts.context_bytes + _BRIM_ROOM_BYTES
    probe.release()
    guard = guard_for(device, budget_bytes)
    kept: list[torch.Tensor] = []
    with guard:
        while True:
            try:
                kept.append(torch.empty(_BRIM_BLOCK_BYTES, dtype=torch.uint8, device=device))
            except torch.OutOfMemoryError:
                break
    process_bytes = guard.peak().process_bytes
    kept.clear()
    guard.release()
    if process_bytes is None:
        return skipped(f"the driver does not tell what this process holds ({guard.cap_level})")
    unused_bytes = budget_bytes - process_bytes
    told = (
        f"{format_bytes(abs(unused_bytes))} {'below' if unused_bytes >= 0 else 'over'} the budget"
    )
    return judged(
        unused_bytes >= 0,
        f"{told} when torch refuses more ({guard.cap_level})",
        "please report it, with the JSON of this check",
        budget_bytes=budget_bytes,
        process_bytes=process_bytes,
        cap_level=guard.cap_level,
    )


def _workspace_of(config: TrialConfig, device: torch.device) -> int:
    """Return the bytes that torch's allocator served besides the tensors that the meter saw."""
    gc.collect()  # the network before this one
    left_bytes = torch.cuda.memory_allocated(device)
    guard = guard_for(device, None, config.precision)
    train(config, guard)
    peak = guard.peak()
    guard.release()
    return max(0, peak.allocated_bytes - left_bytes - sum(peak.by_category.values()))


def _has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)
