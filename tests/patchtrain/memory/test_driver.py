"""How the driver's answers are read, and what happens without them."""

from __future__ import annotations

import os

import pytest
import torch
from fake_cuda import GIB, UUID, FakeCuda

from patchtrain.memory import driver
from patchtrain.memory.driver import MIG, MPS, DriverError, Gpu

DEVICE = torch.device("cuda", 0)


@pytest.fixture
def cuda(monkeypatch):
    return FakeCuda(monkeypatch)


def own_bytes(gpu):
    """Return what the driver's list says of this process."""
    return dict(gpu.listed()).get(os.getpid())


def test_a_whole_gpu(cuda):
    gpu = Gpu(DEVICE)
    assert (gpu.total_bytes, gpu.cuda_total_bytes) == (10 * GIB, 10 * GIB)
    assert gpu.partitions == ()
    assert not gpu.has_context()
    assert own_bytes(gpu) is None
    cuda.has_context = True
    cuda.other_processes_bytes = 3 * GIB
    assert own_bytes(gpu) == cuda.context_bytes
    assert gpu.used_bytes() == cuda.context_bytes + 3 * GIB
    assert gpu.free_bytes() == 7 * GIB - cuda.context_bytes


def test_a_process_that_the_driver_hides_is_unknown_but_the_device_is_not(cuda):
    cuda.has_context = cuda.nvml.hides_process = True
    gpu = Gpu(DEVICE)
    assert own_bytes(gpu) is None
    assert gpu.used_bytes() == cuda.context_bytes


def test_without_nvml_all_is_unknown_but_the_size(cuda):
    cuda.has_context = True
    cuda.nvml = None
    gpu = Gpu(DEVICE)
    assert own_bytes(gpu) is None
    assert gpu.used_bytes() is None
    assert gpu.total_bytes == 10 * GIB


def test_a_driver_that_fails_is_an_error_of_its_own(cuda):
    cuda.has_context = True
    gpu = Gpu(DEVICE)
    cuda.nvml.is_broken = True
    with pytest.raises(DriverError, match="GPU is lost"):
        gpu.listed()


def test_a_machine_without_the_driver_library_has_no_nvml(monkeypatch):
    pynvml = pytest.importorskip("pynvml")

    def fail():
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert driver.load_nvml() is None


@pytest.mark.parametrize("found_by", ["visible", "own identifier", "mode of the GPU"])
def test_a_mig_slice_has_its_own_size(cuda, monkeypatch, found_by):
    nvml = cuda.nvml
    nvml.slice_bytes = 2 * GIB
    if found_by == "visible":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-some")
        nvml.handles["MIG-some"] = "slice 1"
    elif found_by == "own identifier":
        nvml.handles[f"MIG-{UUID}"] = "slice 1"
    else:
        nvml.mig_mode = nvml.NVML_DEVICE_MIG_ENABLE
        nvml.slices = [None, "slice 1"]
    gpu = Gpu(DEVICE)
    assert gpu.partitions == (MIG,)
    assert gpu.total_bytes == 2 * GIB
    cuda.has_context = True
    assert own_bytes(gpu) == cuda.context_bytes


def test_a_mig_slice_without_nvml_has_the_size_that_cuda_says(cuda, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-some")
    cuda.nvml = None
    cuda.total_bytes = 2 * GIB
    gpu = Gpu(DEVICE)
    assert gpu.partitions == (MIG,)
    assert gpu.total_bytes == 2 * GIB


def test_a_gpu_whose_slices_are_not_seen_says_nothing_about_the_process(cuda):
    cuda.has_context = True
    cuda.nvml.mig_mode = cuda.nvml.NVML_DEVICE_MIG_ENABLE
    gpu = Gpu(DEVICE)
    assert gpu.partitions == (MIG,)
    assert own_bytes(gpu) is None


@pytest.mark.parametrize(
    ("text", "total_bytes"),
    [
        ("0=4G", 4 * GIB),
        ("1=1G,0=4096M", 4 * GIB),
        ("0=4GB, 1=8G", 4 * GIB),
        ("1=4G", 10 * GIB),
        ("0=80G", 10 * GIB),
        ("0=much", 10 * GIB),
    ],
)
def test_the_limit_of_mps_is_the_size(cuda, monkeypatch, text, total_bytes):
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", text)
    gpu = Gpu(DEVICE)
    assert gpu.partitions == (MPS,)
    assert gpu.total_bytes == total_bytes
    assert gpu.cuda_total_bytes == 10 * GIB


def test_mps_is_known_by_its_share_of_threads(cuda, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "50")
    assert Gpu(DEVICE).partitions == (MPS,)


def test_mps_is_known_by_its_pipe(cuda, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert Gpu(DEVICE).partitions == ()
    (tmp_path / "control").touch()
    assert Gpu(DEVICE).partitions == (MPS,)


def test_a_client_of_mps_may_be_in_a_list_of_its_own(cuda, monkeypatch):
    cuda.has_context = cuda.nvml.mps_only = True
    assert own_bytes(Gpu(DEVICE)) is None
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "50")
    assert own_bytes(Gpu(DEVICE)) == cuda.context_bytes
