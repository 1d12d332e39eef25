"""What NVIDIA's driver reports about a CUDA device: its memory, its partition, this process's use.

The only module that talks to NVML and that asks CUDA for the size of a device. What the driver does
not report is None. Knows nothing of budgets, trials or torch's allocator.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

MIG = "mig"
"""A slice of a GPU with memory of its own (Multi-Instance GPU)."""

MPS = "mps"
"""Processes share a GPU through the Multi-Process Service, which may limit the memory of each."""

_MPS_LIMIT = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
_MPS_THREADS = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
_MPS_UNIT_BYTES = {"M": 2**20, "G": 2**30}


class DriverError(Exception):
    """The driver stopped answering."""


class Gpu:
    """One CUDA device, as this process may use it.

    Attributes:
        cuda_total_bytes: the size that CUDA reports; in a MIG slice the slice's.
        total_bytes: what this process may hold at most: the device, its MIG slice or MPS's limit.
        partitions: `MIG` or `MPS` or both, if they are in use.
    """

    def __init__(self, device: torch.device) -> None:
        properties = torch.cuda.get_device_properties(device)
        self._index: int = device.index or 0
        self._nvml = load_nvml()
        self._handle, is_slice = _find(self._nvml, self._index, str(properties.uuid))
        self.cuda_total_bytes: int = properties.total_memory
        self.total_bytes = self.cuda_total_bytes
        self.partitions: tuple[str, ...] = ()
        if is_slice:
            self.partitions += (MIG,)
            self.total_bytes = min(self.total_bytes, self._slice_bytes() or self.total_bytes)
        if _uses_mps():
            self.partitions += (MPS,)
            limit_bytes = _mps_limit_bytes(self._index)
            self.total_bytes = min(self.total_bytes, limit_bytes or self.total_bytes)

    def has_context(self) -> bool:
        """Return whether this process has a CUDA context on the device."""
        # whether torch's stubs list it differs between versions
        return torch._C._cuda_hasPrimaryContext(self._index)  # type: ignore[attr-defined, unused-ignore]

    def process_bytes(self) -> int | None:
        """Return what this process holds on the device, its context included.

        None if the driver does not list this process by its number, as in a container with
        process numbers of its own.

        Raises:
            DriverError: the driver stopped answering.
        """
        if self._handle is None:
            return None
        try:
            listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except Exception as error:
            raise DriverError(f"NVML does not list processes: {error}") from error
        found = _own_bytes(listed)
        if found is None and MPS in self.partitions:
            with suppress(Exception):  # older drivers have no such list
                listed = self._nvml.nvmlDeviceGetMPSComputeRunningProcesses(self._handle)
                found = _own_bytes(listed)
        return found

    def used_bytes(self) -> int | None:
        """Return what all processes hold on the device; unlike CUDA, NVML creates no context."""
        memory = self._memory()
        return None if memory is None else int(memory.used)

    def free_bytes(self) -> int | None:
        """Return what CUDA could still give to this process."""
        with suppress(RuntimeError):
            return torch.cuda.mem_get_info(self._index)[0]
        return None

    def _slice_bytes(self) -> int | None:
        memory = self._memory()
        return None if memory is None else int(memory.total)

    def _memory(self) -> Any:
        if self._handle is None:
            return None
        with suppress(Exception):
            return self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return None


def load_nvml() -> Any:
    """Return NVML's Python module, ready for use; None if there is no driver library."""
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        return pynvml
    return None


def _find(nvml: Any, index: int, uuid: str) -> tuple[Any, bool]:
    """Return NVML's handle of a device, or None, and whether the device is a MIG slice."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    named = visible[index].strip() if index < len(visible) else ""
    is_slice = named.startswith("MIG-")
    if nvml is None:
        return None, is_slice
    # For a slice, CUDA gives the identifier of the slice or of the GPU that it is cut from.
    for name in [named] if is_slice else [f"MIG-{uuid}", f"GPU-{uuid}"]:
        with suppress(Exception):
            handle, found_slice = _slice_of(nvml, nvml.nvmlDeviceGetHandleByUUID(name))
            return handle, is_slice or found_slice
    return None, is_slice


def _slice_of(nvml: Any, handle: Any) -> tuple[Any, bool]:
    """Return the handle of the MIG slice that CUDA uses, or `handle` if none is in use."""
    with suppress(Exception):  # a GPU that cannot be sliced, or a driver that knows no slices
        if nvml.nvmlDeviceIsMigDeviceHandle(handle):
            return handle, True
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return handle, False
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with suppress(Exception):  # CUDA takes the first that is there
                return nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number), True
        return None, True
    return handle, False


def _own_bytes(listed: Any) -> int | None:
    own = [process.usedGpuMemory for process in listed if process.pid == os.getpid()]
    return max((num_bytes for num_bytes in own if num_bytes), default=None)


def _uses_mps() -> bool:
    if os.environ.get(_MPS_LIMIT) or os.environ.get(_MPS_THREADS):
        return True
    folder = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")
    with suppress(OSError):
        return (folder / "control").exists()
    return False


def _mps_limit_bytes(index: int) -> int | None:
    """Return the limit that `0=8G,1=4096M` sets for the device `index`; units are powers of two."""
    for entry in os.environ.get(_MPS_LIMIT, "").split(","):
        number, _, size = entry.partition("=")
        match = re.fullmatch(r"\s*(\d+)\s*([GM])B?\s*", size, re.IGNORECASE)
        if number.strip() == str(index) and match:
            return int(match[1]) * _MPS_UNIT_BYTES[match[2].upper()]
    return None
