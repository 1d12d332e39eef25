"""Refuses a budget that a GPU cannot hold, before any work starts, and says who holds the rest."""

from __future__ import annotations

from contextlib import suppress

from patchtrain.errors import ConfigError
from patchtrain.memory.driver import MIG, MPS, DriverError, Gpu
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


def _part(gpu: Gpu) -> str:
    """Return, as text, why less than the whole device is there."""
    if MPS in gpu.partitions and gpu.total_bytes < gpu.cuda_total_bytes:
        return ", the limit of MPS"
    return ", its MIG slice" if MIG in gpu.partitions else ""


def _holders(gpu: Gpu, own_pid: int | None) -> str:
    """Return, as text, who else holds how much of a GPU."""
    told: list[str] = []
    with suppress(DriverError):
        others = [row for row in gpu.listed() if row.pid != own_pid]
        told = [f"process {row.pid}: {format_bytes(row.num_bytes)}" for row in others]
    return ", ".join(told) or "the driver does not say who"
