"""A CUDA device and its driver, replaced where torch and NVML meet the operating system.

`FakeCuda(monkeypatch)` puts itself under what `memory.driver` asks: the answers that it has to read
right. `cuda_stub` is a whole device, on which memory is taken and held.
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
        self.nvml = FakeNvml(self)
        for name in ENVIRONMENT:
            monkeypatch.setenv(name, "")  # what a test sets here is undone, too
            monkeypatch.delenv(name)
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/nowhere")
        monkeypatch.setattr(driver, "load_nvml", lambda: self.nvml)
        monkeypatch.setattr(torch._C, "_cuda_hasPrimaryContext", lambda index: self.has_context)
        for name in ("get_device_properties", "mem_get_info"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    @property
    def process_bytes(self):
        return self.context_bytes if self.has_context else 0

    def get_device_properties(self, device):
        place = {"pci_domain_id": 0, "pci_bus_id": 1, "pci_device_id": 0}
        return SimpleNamespace(total_memory=self.total_bytes, uuid=UUID, name="GPU", **place)

    def mem_get_info(self, device):
        used_bytes = self.process_bytes + self.other_processes_bytes
        return self.total_bytes - used_bytes, self.total_bytes
