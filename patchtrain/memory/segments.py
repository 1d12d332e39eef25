"""Whether torch's allocator grows its segments, which wastes less, or makes new ones.

For growing ones torch asks NVML without looking whether it is there: where it is not, or does not
know the device, the first allocation ends the process. Knows nothing of budgets and trials.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import torch

from patchtrain.errors import ConfigError
from patchtrain.memory.driver import Gpu
from patchtrain.memory.platform import is_tegra, is_wsl

_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""torch reads its allocator's settings from these; which hides the other differs by version."""
_OFF = "PYTORCH_NO_CUDA_MEMORY_CACHING"
_GROWING = "expandable_segments:True"
_NATIVE = "expandable_segments:False"


def choose_segments(gpu: Gpu) -> None:
    """Have torch's allocator grow its segments where that works; call it before it allocates.

    What the user has set stays.

    Raises:
        ConfigError: the user asked for growing segments where torch would crash, or turned the
            allocator off.
    """
    if os.environ.get(_OFF) is not None:
        raise ConfigError(
            f"{_OFF}={os.environ[_OFF]!r} turns off torch's allocator, which counts memory and "
            "holds the budget; unset it"
        )
    reason = why_native(gpu)
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    for name, value in given.items():
        if reason and _GROWING.lower() in value.replace(" ", "").lower():
            raise ConfigError(
                f"{name}={value!r}: expandable_segments would crash torch here, as {reason}; "
                "take it out"
            )
    if not given:
        _set(_NATIVE if reason else _GROWING)


def create_context(device: torch.device) -> bool | None:
    """Make CUDA's context by allocating a block; return whether its segment can grow, if known.

    Some drivers refuse to map growing segments, and say so only now: then native ones are used.
    """
    try:
        return _can_grow(device)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "driver error" not in str(error):
            raise
    _set(_NATIVE)
    return _can_grow(device)


def why_native(gpu: Gpu) -> str:
    """Return, as text, why segments cannot grow here; empty if they can."""
    if is_wsl():
        return "WSL's driver refuses to map them"
    if is_tegra():
        return "a Jetson has no NVML for its GPU"
    if not gpu.is_found_by_pci_id():
        return "NVML does not start or does not know the device"
    return ""


def _set(settings: str) -> None:
    """Give torch's allocator `settings` at run time."""
    set_settings: Any = getattr(torch._C, "_accelerator_setAllocatorSettings", None)
    if set_settings is None:  # torch before 2.10
        set_settings = torch.cuda.memory._set_allocator_settings
    set_settings(settings)


def _can_grow(device: torch.device) -> bool | None:
    address = torch.cuda.caching_allocator_alloc(1, device)
    try:
        with suppress(RuntimeError):  # not every allocator that torch can use has snapshots
            for segment in torch.cuda.memory_snapshot():
                start = segment["address"]
                if start <= address < start + segment["total_size"]:
                    return segment["is_expandable"]
        return None
    finally:
        torch.cuda.caching_allocator_delete(address)
