"""Says why a GPU has no room: a budget that it cannot hold, before any work starts, and memory that
ran out.
"""

from __future__ import annotations

import os
from contextlib import suppress

from patchtrain.errors import ConfigError
from patchtrain.memory.driver import MIG, MPS, DriverError, Gpu
from patchtrain.memory.out_of_memory import NEXT_TO_NOTHING_BYTES
from patchtrain.units import format_bytes


def check_budget(
    gpu: Gpu, budget_bytes: int, *, context_bytes: int, reserved_bytes: int, own_pid: int | None
) -> None:
    """Refuse a budget that `gpu` cannot hold.

    Args:
        context_bytes: held by this process outside of torch's allocator.
        reserved_bytes: held by it inside.
        own_pid: its number in the driver's list; None if it is not listed.

    Raises:
        ConfigError: the budget is more than the device, or than others leave of it, or less than
            the context.
    """
    if budget_bytes > gpu.total_bytes:
        raise ConfigError(
            f"budget={format_bytes(budget_bytes)} is more than {gpu.device} has "
            f"({format_bytes(gpu.total_bytes)}{_part(gpu)}); lower it"
        )
    if budget_bytes <= context_bytes:
        raise ConfigError(
            f"budget={format_bytes(budget_bytes)} does not hold CUDA's own context "
            f"({format_bytes(context_bytes)}); raise it"
        )
    free_bytes = gpu.free_bytes()
    if free_bytes is None:
        return
    room_bytes = free_bytes + reserved_bytes + context_bytes
    if budget_bytes > room_bytes:
        raise ConfigError(
            f"budget={format_bytes(budget_bytes)} is more than the {format_bytes(room_bytes)} "
            f"that others leave of {gpu.device} ({_holders(gpu, own_pid)}); lower it, wait until "
            "they end, or use another device"
        )


def full_device(gpu: Gpu) -> ConfigError:
    """Return the error of a device that others leave no room on even for CUDA's own context."""
    free = "nothing" if (free_bytes := gpu.free_bytes()) is None else format_bytes(free_bytes)
    return ConfigError(
        f"{gpu.device} has no room for CUDA's own context: {free} of "
        f"{format_bytes(gpu.total_bytes)} is free ({_holders(gpu, None)}); wait until others end, "
        "or use another device"
    )


def why_no_room(
    gpu: Gpu, budget_bytes: int | None, needed_bytes: int, asked_bytes: int | None
) -> str:
    """Return, as text, what left no room when memory ran out: the budget or the device.

    Args:
        needed_bytes: held, and asked for.
        asked_bytes: None if torch did not say.
    """
    if budget_bytes is not None and needed_bytes > budget_bytes:
        over_bytes = needed_bytes - budget_bytes
        return f"over the budget of {budget_bytes} bytes by {over_bytes}"
    free_bytes = gpu.free_bytes()
    if budget_bytes is None or (free_bytes or 0) < (asked_bytes or NEXT_TO_NOTHING_BYTES):
        return f"and the device has {format_bytes(free_bytes)} free besides other processes"
    return f"and the budget of {budget_bytes} bytes has no room for it in one piece"


def _part(gpu: Gpu) -> str:
    """Return, as text, why less than the whole device is there."""
    if MPS in gpu.partitions and gpu.total_bytes < gpu.cuda_total_bytes:
        return ", the limit of MPS"
    return ", its MIG slice" if MIG in gpu.partitions else ""


def _holders(gpu: Gpu, own_pid: int | None) -> str:
    """Return, as text, who else holds how much of a GPU."""
    told: list[str] = []
    with suppress(DriverError):
        others = [row for row in gpu.listed() if row.pid not in (own_pid, os.getpid())]
        told = [f"process {row.pid}: {format_bytes(row.num_bytes)}" for row in others]
    return ", ".join(told) or "the driver does not say who"
