"""A CUDA device and its driver, replaced where torch and NVML meet the operating system.

`FakeCuda(monkeypatch)` puts itself under `torch.cuda` and NVML. It keeps the books that a device
keeps: what this process holds outside torch's allocator, what the allocator reserved, its cap.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import torch

from patchtrain.memory import driver

GIB = 2**30
MIB = 2**20
UUID = "11111111-2222-3333-4444-555555555555"
ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)


class FakeNvml:
    """NVML as `pynvml` gives it, over the books of a `FakeCuda`."""

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.handles = {f"GPU-{UUID}": "gpu"}
        self.mig_mode = 0
        self.slices: list[str | None] = []
        self.slice_bytes = 0
        self.hides_process = False
        self.is_broken = False
        self.mps_only = False

    def nvmlDeviceGetHandleByUUID(self, name):
        if name not in self.handles:
            raise self.NVMLError("not found")
        return self.handles[name]

    def nvmlDeviceIsMigDeviceHandle(self, handle):
        return int(handle.startswith("slice"))

    def nvmlDeviceGetMigMode(self, handle):
        return [self.mig_mode, self.mig_mode]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return len(self.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, number):
        if self.slices[number] is None:
            raise self.NVMLError("not found")
        return self.slices[number]

    def nvmlDeviceGetMemoryInfo(self, handle):
        total = self.slice_bytes if handle.startswith("slice") else self.cuda.total_bytes
        used = self.cuda.process_bytes + self.cuda.other_processes_bytes
        return SimpleNamespace(total=total, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self._listed([] if self.mps_only else [os.getpid()])

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle):
        return self._listed([os.getpid()] if self.mps_only else [])

    def _listed(self, own):
        if self.is_broken:
            raise self.NVMLError("GPU is lost")
        others = [
            SimpleNamespace(pid=1, usedGpuMemory=None),
            SimpleNamespace(pid=2, usedGpuMemory=7),
        ]
        if self.hides_process or not self.cuda.has_context:
            return others
        return others + [
            SimpleNamespace(pid=pid, usedGpuMemory=self.cuda.process_bytes) for pid in own
        ]


class FakeCuda:
    """The books of one device and of this process on it."""

    def __init__(self, monkeypatch) -> None:
        self.total_bytes = 10 * GIB
        self.context_bytes = 512 * MIB
        self.other_processes_bytes = 0
        self.has_context = False
        self.fraction = 1.0
        self.caps: list[int] = []
        self.allocated_bytes = self.reserved_bytes = 0
        self.allocated_peak_bytes = self.reserved_peak_bytes = 0
        self.is_expandable = True
        self.environment_at_start: str | None = None
        self.nvml = FakeNvml(self)
        for name in ENVIRONMENT:
            monkeypatch.setenv(name, "")  # what a test sets here is undone, too
            monkeypatch.delenv(name)
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/nowhere")
        monkeypatch.setattr(driver, "load_nvml", lambda: self.nvml)
        monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda index: self.has_context)
        for name in (
            "get_device_properties",
            "mem_get_info",
            "is_initialized",
            "empty_cache",
            "set_per_process_memory_fraction",
            "reset_peak_memory_stats",
            "memory_stats_as_nested_dict",
            "memory_snapshot",
            "caching_allocator_alloc",
            "caching_allocator_delete",
        ):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        statistics = self.memory_stats_as_nested_dict
        monkeypatch.setattr(torch.cuda.memory, "memory_stats_as_nested_dict", statistics)

    @property
    def process_bytes(self):
        return self.context_bytes + self.reserved_bytes if self.has_context else 0

    @property
    def cap_bytes(self):
        """The cap now in force, None where there is none."""
        return None if self.fraction == 1.0 else round(self.fraction * self.total_bytes)

    def allocate(self, num_bytes):
        """Take a block as torch does, or raise what torch raises."""
        cached_bytes = self.reserved_bytes - self.allocated_bytes
        grown_bytes = max(0, num_bytes - cached_bytes)
        free_bytes = self.total_bytes - self.process_bytes - self.other_processes_bytes
        cap_bytes = self.fraction * self.total_bytes
        if self.reserved_bytes + grown_bytes > cap_bytes or grown_bytes > free_bytes:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {num_bytes / MIB:.2f} MiB. GPU 0 has a "
                f"total capacity of 10.00 GiB of which {free_bytes / MIB:.2f} MiB is free. If "
                "reserved but unallocated memory is large try setting something."
            )
        self.reserved_bytes += grown_bytes
        self.allocated_bytes += num_bytes
        self._note_peaks()

    def free(self, num_bytes):
        """Give a block back to the cache."""
        self.allocated_bytes -= num_bytes

    def get_device_properties(self, device):
        return SimpleNamespace(total_memory=self.total_bytes, uuid=UUID)

    def mem_get_info(self, device):
        used_bytes = self.process_bytes + self.other_processes_bytes
        return self.total_bytes - used_bytes, self.total_bytes

    def is_initialized(self):
        return self.has_context

    def empty_cache(self):
        self.reserved_bytes = self.allocated_bytes

    def set_per_process_memory_fraction(self, fraction, device):
        self.fraction = fraction
        if self.cap_bytes is not None:
            self.caps.append(self.cap_bytes)

    def reset_peak_memory_stats(self, device):
        self.allocated_peak_bytes = self.allocated_bytes
        self.reserved_peak_bytes = self.reserved_bytes

    def memory_stats_as_nested_dict(self, device=None):
        return {
            "allocated_bytes": {
                "all": {"current": self.allocated_bytes, "peak": self.allocated_peak_bytes}
            },
            "reserved_bytes": {
                "all": {"current": self.reserved_bytes, "peak": self.reserved_peak_bytes}
            },
        }

    def memory_snapshot(self):
        return [
            {"address": 0, "total_size": 4096, "is_expandable": not self.is_expandable},
            {"address": 4096, "total_size": 4096, "is_expandable": self.is_expandable},
        ]

    def caching_allocator_alloc(self, size, device):
        if not self.has_context:
            self.environment_at_start = os.environ.get("PYTORCH_ALLOC_CONF")
        self.has_context = True
        self.reserved_bytes = max(self.reserved_bytes, 2 * MIB)
        self._note_peaks()
        return 4096

    def caching_allocator_delete(self, address):
        assert address == 4096

    def _note_peaks(self):
        self.allocated_peak_bytes = max(self.allocated_peak_bytes, self.allocated_bytes)
        self.reserved_peak_bytes = max(self.reserved_peak_bytes, self.reserved_bytes)
