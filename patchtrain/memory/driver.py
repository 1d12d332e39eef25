"""What NVIDIA's driver reports about a CUDA device: its memory, its partition, who holds how much.

The only module that talks to NVML and that asks CUDA for the size of a device. What the driver does
not report is None. Knows nothing of budgets, trials or torch's allocator.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from patchtrain.device import supported_cuda
from patchtrain.memory.facts import ASSUMED, GpuFacts, recall

MIG = "mig"
"""A slice of a GPU with memory of its own (Multi-Instance GPU)."""

MPS = "mps"
"""Processes share a GPU through the Multi-Process Service, which may limit the memory of each."""

_MPS_LIMIT = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
_MPS_THREADS = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
_MPS_UNIT_BYTES = {"M": 2**20, "G": 2**30}


class DriverError(Exception):
    """The driver stopped answering."""


class Listed(NamedTuple):
    """A process that the driver lists on a device."""

    pid: int
    """Its number where the driver runs, which in a container is not the process's own."""
    num_bytes: int | None
    """What it holds; None if the driver does not say."""


class Gpu:
    """One CUDA device, as this process may use it.

    Attributes:
        device: as torch names it.
        name: of the model.
        uuid: of the device, which no other has.
        cuda_total_bytes: the size that CUDA reports; in a MIG slice the slice's.
        total_bytes: what this process may hold at most: the device, its MIG slice or MPS's limit.
        partitions: `MIG` or `MPS` or both, if they are in use.
    """

    def __init__(self, device: torch.device) -> None:
        properties = torch.cuda.get_device_properties(device)
        self.device = device
        self.name: str = properties.name
        self.uuid = str(properties.uuid)
        self._index: int = device.index or 0
        self._nvml = load_nvml()
        self._handle, is_slice = _find(self._nvml, self._index, self.uuid)
        self._pci_id = _pci_id(properties)
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

    def is_found_by_pci_id(self) -> bool:
        """Return whether NVML finds the device by its place on the bus, as torch looks for it."""
        if self._nvml is None:
            return False
        with suppress(Exception):
            self._nvml.nvmlDeviceGetHandleByPciBusId(self._pci_id)
            return True
        return False

    def listed(self) -> list[Listed]:
        """Return the processes that the driver lists on the device; none without NVML.

        Raises:
            DriverError: the driver stopped answering.
        """
        if self._handle is None:
            return []
        try:
            found = list(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except Exception as error:
            raise DriverError(f"NVML does not list processes: {error}") from error
        if MPS in self.partitions:
            with suppress(Exception):  # older drivers have no such list
                found += self._nvml.nvmlDeviceGetMPSComputeRunningProcesses(self._handle)
        return [Listed(process.pid, process.usedGpuMemory) for process in found]

    def used_bytes(self) -> int | None:
        """Return what all processes hold on the device; unlike CUDA, NVML creates no context."""
        memory = self._memory()
        return None if memory is None else int(memory.used)

    def unused_bytes(self) -> int | None:
        """Return what no process holds, by NVML; None without it."""
        memory = self._memory()
        return None if memory is None else int(memory.free)

    def free_bytes(self) -> int | None:
        """Return what CUDA could still give to this process; makes a context."""
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


def driver_version() -> str:
    """Return the driver's version, such as `550.54.14`; without NVML the CUDA that it supports,
    such as `CUDA 12.4`; empty without a driver.
    """
    nvml = load_nvml()
    if nvml is not None:
        with suppress(Exception):
            found = nvml.nvmlSystemGetDriverVersion()
            return found.decode() if isinstance(found, bytes) else str(found)
    supported = supported_cuda()
    return f"CUDA {supported[0]}.{supported[1]}" if supported else ""


def facts_of(device: torch.device) -> GpuFacts:
    """Return what was measured of `device` by earlier trials; the assumption if nothing was, or if
    the device is not here.
    """
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        return ASSUMED
    name = torch.cuda.get_device_properties(device).name
    return recall(name, driver_version(), str(torch.__version__)) or ASSUMED


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


def _pci_id(properties: Any) -> str:
    """Return the device's place on the bus as NVML writes it."""
    numbers = (properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id)
    return "{:08X}:{:02X}:{:02X}.0".format(*numbers)


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
