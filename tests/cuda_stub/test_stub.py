"""The stub is the device that it says it is: torch's real allocator, autograd and autocast run."""

from __future__ import annotations

import pytest
import torch

from cuda_stub.server import Failed

pytestmark = pytest.mark.cuda_stub

MIB = 2**20


def what_is_there():
    properties = torch.cuda.get_device_properties(0)
    return [torch.cuda.is_available(), properties.name, properties.total_memory]


def test_torch_sees_the_device(stub):
    found = stub.run(what_is_there, device={"total_bytes": 24 * 2**30})
    assert found == [True, "Stub GPU", 24 * 2**30]


def held_by_both(growing):
    from cuda_stub.books import BOOKS

    torch._C._accelerator_setAllocatorSettings(f"expandable_segments:{growing}")
    kept = [torch.empty(num * MIB, dtype=torch.uint8, device="cuda") for num in (1, 3, 11, 50)]
    grows = torch.cuda.memory_snapshot()[0]["is_expandable"]
    return [torch.cuda.memory_reserved(), BOOKS.used_bytes, grows, len(kept)]


@pytest.mark.parametrize("growing", [True, False])
def test_the_books_hold_what_torchs_allocator_reserves(stub, growing):
    reserved, used, grows, _ = stub.run(held_by_both, growing)
    assert reserved == used and grows is growing


def over_a_limit():
    torch.cuda.set_per_process_memory_fraction(0.25)
    kept = []
    try:
        while True:
            kept.append(torch.empty(10 * MIB, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        return [len(kept), torch.cuda.memory_stats()["num_ooms"], str(error)]


def test_torchs_own_limit_and_the_devices_end_are_felt(stub):
    num, num_refused, text = stub.run(over_a_limit, device={"total_bytes": 800 * MIB})
    assert num_refused == 1 and "200.00 MiB allowed" in text
    assert 18 <= num <= 20
    num, _, text = stub.run(
        over_a_limit, device={"total_bytes": 800 * MIB, "other_bytes": 200 * MIB}
    )
    assert num <= 10 and "allowed" in text


def train_a_step(together):
    import cuda_stub.ops  # noqa: F401
    from cuda_stub.books import BOOKS

    layout = torch.channels_last if together else torch.contiguous_format
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 2),
    ).to("cuda", memory_format=layout)  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters())
    pixels = torch.zeros(4, 3, 8, 8, device="cuda").contiguous(memory_format=layout)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        features = network[0](pixels)
        loss = network(pixels).float().pow(2).mean()
    loss.backward()
    optimizer.step()
    gradient = network[0].weight.grad
    lies = [t.is_contiguous(memory_format=torch.channels_last) for t in (features, gradient)]
    return [str(features.dtype), lies, loss.item(), BOOKS.num_launches > 20]


@pytest.mark.parametrize("together", [True, False])
def test_a_network_trains_in_the_layout_that_it_was_given(stub, together):
    dtype, lies, loss, has_launched = stub.run(train_a_step, together)
    assert (dtype, lies, loss, has_launched) == ("torch.bfloat16", [together] * 2, 0.0, True)


def rows_of_nvml(how, others):
    import pynvml

    from cuda_stub.books import BOOKS

    BOOKS.set(own_row=how)
    for pid, num_bytes in others:
        BOOKS.list_other(pid, num_bytes)
    kept = torch.empty(5 * MIB, dtype=torch.uint8, device="cuda")
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByPciBusId("00000000:01:00.0")
    import os

    rows = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
    used = pynvml.nvmlDeviceGetMemoryInfo(device).used
    own = BOOKS.process_bytes
    return [[[row.pid - os.getpid(), row.usedGpuMemory] for row in rows], used, own, len(kept)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [(0, [[0, "all"]]), (1, [[1_000_000, "all"]]), (2, []), (3, [[0, 0]]), (4, [[0, None]])],
)
def test_nvml_lists_the_process_as_it_is_told(stub, how, expected):
    rows, used, own, _ = stub.run(rows_of_nvml, how, [])
    assert rows == [[pid, own if size == "all" else size] for pid, size in expected]
    assert used == own
    rows, used, own, _ = stub.run(rows_of_nvml, how, [[7, 3 * MIB]])
    assert rows[0][1] == 3 * MIB and len(rows) == 1 + len(expected)
    assert used == own + 3 * MIB


def allocate_growing():
    torch._C._accelerator_setAllocatorSettings("expandable_segments:True")
    return torch.empty(1, device="cuda").numel()


_IS_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)


@pytest.mark.skipif(_IS_OLD, reason="before torch 2.14 the first allocation does not ask NVML")
def test_growing_segments_without_nvml_end_the_process(stub, stub_without_nvml):
    """As on a real machine: what the guard keeps trials from."""
    with pytest.raises(Failed, match="ended by SIGSEGV"):
        stub_without_nvml.run(allocate_growing)
    with pytest.raises(Failed, match="INTERNAL ASSERT FAILED"):
        stub.run(allocate_growing, device={"nvml_status": 9})
    with pytest.raises(Failed, match="CUDA driver error: unknown error"):
        stub.run(allocate_growing, device={"refuses_access": 1})
    with pytest.raises(Failed, match="out of memory"):
        stub.run(allocate_growing, device={"refuses_mapping": 1})


def wait_for_ever():
    import time

    time.sleep(60)


def test_a_function_that_hangs_is_ended(stub):
    with pytest.raises(Failed, match="SIGALRM"):
        stub.run(wait_for_ever, limit_s=1)
