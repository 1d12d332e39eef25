"""Checks of the machine around the GPU: driver, container, what NVML tells, shared memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from patchtrain.doctor.finding import Finding, failed, passed, warned
from patchtrain.memory.driver import Gpu, driver_version, load_nvml
from patchtrain.memory.guards import guard_for
from patchtrain.memory.platform import in_container, is_tegra, is_wsl
from patchtrain.units import format_bytes

_SHARED_MEMORY = Path("/dev/shm")
_IMAGE_SIDE_PX = 4096
_NEEDED_SHARED_BYTES = 4 * 4 * _IMAGE_SIDE_PX**2 * 3
"""Two reading processes with two batches each, of one image of 4096 px, at the same time."""
_NUM_READERS = 2


def platform(device: torch.device) -> Finding:
    """Say what driver, torch and kind of machine these are."""
    figures: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda_of_torch": torch.version.cuda,
        "driver": driver_version(),
        "wsl": is_wsl(),
        "tegra": is_tegra(),
        "container": in_container(),
        "num_cpus": os.cpu_count(),
    }
    kinds = {"WSL": is_wsl(), "Tegra": is_tegra(), "a container": in_container()}
    where = ", ".join(name for name, is_so in kinds.items() if is_so) or "no container"
    told = f"torch {torch.__version__}, driver {figures['driver'] or 'unknown'}, {where}"
    if torch.version.cuda is None:
        return failed(
            f"{told}: a build of torch without CUDA", "install torch from PyPI", **figures
        )
    if (device.index or 0) >= torch.cuda.device_count():
        return warned(f"{told}: CUDA sees no {device}", "see the last line", **figures)
    properties = torch.cuda.get_device_properties(device)
    gpu = Gpu(device)
    figures |= {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "total_bytes": gpu.total_bytes,
        "free_bytes": gpu.free_bytes(),
        "partitions": list(gpu.partitions),
    }
    return passed(
        f"{properties.name}, {format_bytes(gpu.total_bytes)}, "
        f"{format_bytes(gpu.free_bytes())} free; {told}"
        + "".join(f", {name.upper()}" for name in gpu.partitions),
        **figures,
    )


def nvml(device: torch.device) -> Finding:
    """Ask the driver what it tells about this process."""
    remedy = "budgets hold by torch's allocator alone; see docs/memory.md about containers"
    if load_nvml() is None:
        return warned(
            "libnvidia-ml cannot be loaded or does not start",
            "give the container NVIDIA_DRIVER_CAPABILITIES=compute,utility; " + remedy,
            is_loaded=False,
            lists_process=False,
        )
    gpu = Gpu(device)
    guard = guard_for(device, None)
    held_bytes = guard.peak().process_bytes
    assert guard.facts is not None
    figures = {
        "is_loaded": True,
        "finds_device": gpu.is_found_by_pci_id(),
        "lists_process": guard.facts.lists_process,
        "used_bytes": gpu.used_bytes(),
        "process_bytes": held_bytes,
    }
    if not guard.facts.lists_process:
        return warned("this process is not in the driver's list", remedy, **figures)
    return passed(f"lists this process with {format_bytes(held_bytes)}", **figures)


class _Images(Dataset[np.ndarray]):
    """Images of zeros."""

    def __len__(self) -> int:
        return 2 * _NUM_READERS

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros((_IMAGE_SIDE_PX, _IMAGE_SIDE_PX, 3), np.uint8)


def data_workers(device: torch.device) -> Finding:
    """Have two processes read images and hand them over in shared memory."""
    free_bytes = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else 0
    told = f"{format_bytes(free_bytes)} free in /dev/shm"
    remedy = "start the container with --shm-size=8g (docker) or set num_workers=0"
    if free_bytes < _NEEDED_SHARED_BYTES:
        return warned(
            f"{told}: too little for reading processes", remedy, shared_memory_bytes=free_bytes
        )
    loader = DataLoader(_Images(), batch_size=1, num_workers=_NUM_READERS)
    num_read = sum(1 for _ in loader)
    return passed(
        f"{told}; {_NUM_READERS} processes read {num_read} images of {_IMAGE_SIDE_PX} px",
        shared_memory_bytes=free_bytes,
    )
