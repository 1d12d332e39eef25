"""The budget on CUDA: caps, the watch over the process, partitions, what ends a trial and where.

Longer than 400 lines because one fake device serves all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from fake_cuda import GIB, MIB, FakeCuda

from patchtrain.errors import ConfigError
from patchtrain.memory import cuda as cuda_module
from patchtrain.memory.cuda import CudaGuard
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.guards import guard_for

DEVICE = torch.device("cuda", 0)
BUDGET = 4 * GIB


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(cuda_module, "_created_context_bytes", {})
    return FakeCuda(monkeypatch)


def guard_with_quick_watch(budget_bytes=BUDGET):
    guard = guard_for(DEVICE, budget_bytes)
    guard._watchdog._interval_s = 0.001
    return guard


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def watchdog_threads():
    return [thread for thread in threading.enumerate() if thread.name == "memory watchdog"]


def test_the_cap_is_the_budget_less_the_context(cuda):
    guard = guard_for(DEVICE, BUDGET)
    assert isinstance(guard, CudaGuard)
    assert cuda.cap_bytes == BUDGET - cuda.context_bytes
    assert guard.cap_level == "allocator+watchdog"


def test_without_a_budget_nothing_is_capped_but_the_process_is_watched(cuda):
    guard = guard_for(DEVICE, None)
    assert guard.cap_level == "none"
    assert cuda.cap_bytes is None
    with guard, guard.doing("fill"):
        cuda.allocate(6 * GIB)
    peak = guard.peak()
    assert (peak.allocated_bytes, peak.reserved_bytes) == (6 * GIB, 6 * GIB)
    assert peak.process_bytes == 6 * GIB + cuda.context_bytes


def test_a_hidden_process_has_the_context_that_appeared_with_it(cuda):
    cuda.nvml.hides_process = True
    cuda.other_processes_bytes = 2 * GIB
    guard = guard_for(DEVICE, BUDGET)
    assert cuda.cap_bytes == BUDGET - cuda.context_bytes
    assert guard.cap_level == "allocator"
    with guard:
        cuda.allocate(GIB)
    assert guard.peak().process_bytes == GIB + cuda.context_bytes
    guard.release()
    cuda.other_processes_bytes = 5 * GIB
    guard_for(DEVICE, BUDGET)
    assert cuda.cap_bytes == BUDGET - cuda.context_bytes


@pytest.mark.parametrize("why", ["context was there before", "no NVML", "others gave memory back"])
def test_a_context_that_cannot_be_measured_is_unknown_and_not_zero(cuda, monkeypatch, why):
    start = cuda.caching_allocator_alloc
    others_take_bytes = 0

    def while_others_run(size, device):
        cuda.other_processes_bytes += others_take_bytes
        return start(size, device)

    monkeypatch.setattr(torch.cuda, "caching_allocator_alloc", while_others_run)
    cuda.nvml.hides_process = True
    cuda.other_processes_bytes = 2 * GIB
    if why == "no NVML":
        cuda.nvml = None
    elif why == "context was there before":
        cuda.has_context = True
        others_take_bytes = GIB
    else:
        others_take_bytes = -GIB
    guard = guard_for(DEVICE, BUDGET)
    assert cuda.cap_bytes == BUDGET
    assert guard.cap_level == "allocator+unknown_context"
    with guard:
        cuda.allocate(GIB)
    assert guard.peak().process_bytes is None
    assert guard.peak().reserved_bytes == GIB


def test_a_context_that_grows_lowers_the_cap_at_the_next_phase(cuda):
    guard = guard_with_quick_watch()
    with guard:
        with guard.doing("fill"):
            cuda.allocate(GIB)
        cuda.context_bytes += 100 * MIB
        wait_until(lambda: guard._watchdog.outside_bytes == cuda.context_bytes)
        assert cuda.cap_bytes == BUDGET - 512 * MIB
        with guard.doing("inner_iteration"):
            assert cuda.cap_bytes == BUDGET - 612 * MIB
        cuda.context_bytes -= 50 * MIB
        with guard.doing("optimizer"):
            pass
    assert cuda.caps == [BUDGET - 512 * MIB, BUDGET - 612 * MIB]


def test_memory_of_torch_is_never_taken_for_context(cuda, monkeypatch):
    guard = guard_for(DEVICE, BUDGET)
    listed = cuda.nvml.nvmlDeviceGetComputeRunningProcesses

    def while_torch_allocates(handle):
        cuda.allocate(64 * MIB)
        return listed(handle)

    monkeypatch.setattr(cuda.nvml, "nvmlDeviceGetComputeRunningProcesses", while_torch_allocates)
    with guard:
        for _ in range(3):
            guard._watchdog.look()
            with guard.doing("fill"):
                pass
    assert cuda.caps == [BUDGET - 512 * MIB]


def test_the_allocators_overrun_is_reported_with_phase_amounts_and_remedy(cuda):
    guard = guard_for(DEVICE, BUDGET)
    with pytest.raises(BudgetExceeded) as caught, guard, guard.doing("inner_iteration"):
        with guard.doing("fill"):
            cuda.allocate(3 * GIB)
        cuda.allocate(GIB)
    error = caught.value
    assert error.phase == "inner_iteration"
    assert error.budget_bytes == BUDGET
    assert error.needed_bytes == 4 * GIB + 512 * MIB
    text = str(error)
    assert text.startswith("out of memory in inner_iteration: cuda:0 was asked for 1.074GB more")
    assert f"over the budget of {BUDGET} bytes by {512 * MIB}; raise budget, or lower " in text
    assert "CUDA out of memory. Tried to allocate 1024.00 MiB" in text
    assert "If reserved" not in text


def test_the_phase_is_the_inner_one_where_it_happened(cuda):
    guard = guard_for(DEVICE, BUDGET)
    with (
        pytest.raises(BudgetExceeded, match="in fill"),
        guard,
        guard.doing("inner_iteration"),
        guard.doing("fill"),
    ):
        cuda.allocate(5 * GIB)
    with pytest.raises(BudgetExceeded, match="in setup"), guard:
        cuda.allocate(5 * GIB)


def test_a_full_device_is_told_apart_from_a_full_budget(cuda):
    guard = guard_for(DEVICE, BUDGET)
    cuda.other_processes_bytes = 9 * GIB
    with (
        pytest.raises(BudgetExceeded, match=r"device has 534\.8MB free besides other processes"),
        guard,
        guard.doing("fill"),
    ):
        cuda.allocate(GIB)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_libraries_of_cuda_run_out_of_memory_too(cuda, text):
    guard = guard_for(DEVICE, BUDGET)
    match = r"in fill.*free beside.*CUDA error"
    with pytest.raises(BudgetExceeded, match=match) as caught, guard, guard.doing("fill"):
        raise RuntimeError(text)
    assert "\n" not in str(caught.value)


def test_other_errors_pass(cuda):
    guard = guard_for(DEVICE, BUDGET)
    with pytest.raises(RuntimeError, match="shapes differ"), guard, guard.doing("fill"):
        raise RuntimeError("shapes differ")
    assert not watchdog_threads()


def test_an_overrun_keeps_no_tensor_of_the_step_alive(cuda):
    freed = threading.Event()

    class Tensor:
        def __del__(self):
            freed.set()

    def step():
        kept = Tensor()
        cuda.allocate(5 * GIB)
        return kept

    guard = guard_for(DEVICE, BUDGET)
    with pytest.raises(BudgetExceeded) as caught, guard, guard.doing("fill"):
        step()
    assert freed.is_set()
    assert caught.value.__cause__ is not None


def test_a_process_above_the_budget_ends_in_the_phase_that_was_seen(cuda):
    guard = guard_with_quick_watch()
    with pytest.raises(BudgetExceeded) as caught, guard, guard.doing("inner_iteration"):
        with guard.doing("fill"):
            cuda.allocate(3 * GIB)
            cuda.context_bytes += GIB
            wait_until(lambda: guard._watchdog.over is not None)
        pytest.fail("the end of the phase did not raise")
    error = caught.value
    assert error.phase == "fill"
    assert error.needed_bytes == 4 * GIB + 512 * MIB
    assert f"over the budget of {BUDGET} bytes by {512 * MIB}" in str(error)
    assert "raise budget, or lower batch_size" in str(error)
    assert not watchdog_threads()


def test_a_process_above_the_budget_ends_at_the_guards_end_at_the_latest(cuda):
    guard = guard_for(DEVICE, BUDGET)
    with pytest.raises(BudgetExceeded, match="in setup: the process held"), guard:
        cuda.context_bytes += BUDGET
    with pytest.raises(BudgetExceeded), guard, guard.doing("fill"):
        pytest.fail("the trial went on")


def test_an_error_of_the_trial_is_not_hidden_by_the_watch(cuda):
    guard = guard_for(DEVICE, BUDGET)
    with pytest.raises(KeyError), guard:
        cuda.context_bytes += BUDGET
        raise KeyError("cause")


def test_the_process_has_a_new_peak_when_the_others_have(cuda):
    guard = guard_with_quick_watch()
    with guard:
        cuda.allocate(3 * GIB)
        wait_until(lambda: guard.peak().process_bytes == 3 * GIB + cuda.context_bytes)
        cuda.free(3 * GIB)
        cuda.empty_cache()
        guard.start_peak()
        assert guard.peak().process_bytes == cuda.context_bytes
        assert guard.peak().reserved_bytes == 0


def test_a_driver_that_fails_on_the_way_leaves_the_allocators_cap(cuda):
    guard = guard_with_quick_watch()
    with guard:
        cuda.allocate(GIB)
        wait_until(lambda: guard.peak().process_bytes == GIB + cuda.context_bytes)
        cuda.nvml.is_broken = True
        wait_until(lambda: guard._watchdog.failed)
        cuda.allocate(GIB)
        with guard.doing("fill"):
            pass
    assert guard.cap_level == "allocator"
    assert guard.peak().process_bytes == 2 * GIB + cuda.context_bytes
    with pytest.raises(BudgetExceeded), guard, guard.doing("fill"):
        cuda.allocate(3 * GIB)


def test_a_driver_that_fails_at_once_leaves_the_context_unknown(cuda):
    cuda.nvml.is_broken = True
    cuda.has_context = True
    assert guard_for(DEVICE, BUDGET).cap_level == "allocator+unknown_context"


def test_no_thread_is_left(cuda):
    guard = guard_for(DEVICE, BUDGET)
    assert not watchdog_threads()
    with guard:
        assert len(watchdog_threads()) == 1
    assert not watchdog_threads()
    guard.__enter__()
    guard.release()
    assert not watchdog_threads()
    guard.__exit__(None, None, None)


def test_the_next_guard_of_the_process_starts_afresh(cuda):
    first = guard_for(DEVICE, BUDGET)
    with pytest.raises(BudgetExceeded), first, first.doing("fill"):
        cuda.allocate(3 * GIB)
        cuda.allocate(3 * GIB)
    cuda.free(2 * GIB)
    first.release()
    assert cuda.cap_bytes is None
    assert cuda.reserved_bytes == GIB  # something still holds it
    second = guard_for(DEVICE, 3 * GIB)
    assert cuda.cap_bytes == 3 * GIB - cuda.context_bytes
    assert second.peak().allocated_bytes == GIB
    with second, second.doing("fill"):
        cuda.allocate(GIB)
    assert second.peak().allocated_bytes == 2 * GIB
    assert second.peak().process_bytes == 2 * GIB + cuda.context_bytes


def test_what_the_cache_of_a_guard_not_released_holds_is_given_back(cuda):
    first = guard_for(DEVICE, BUDGET)
    with first:
        cuda.allocate(3 * GIB)
    cuda.free(3 * GIB)
    second = guard_for(DEVICE, 2 * GIB)
    with second, second.doing("fill"):
        cuda.allocate(GIB)


def test_a_budget_beyond_the_device_or_below_its_context_is_refused(cuda):
    with pytest.raises(ConfigError, match=r"budget=11\.81GB is more than cuda:0 has \(10\.74GB\)"):
        guard_for(DEVICE, 11 * GIB)
    with pytest.raises(ConfigError, match=r"does not hold CUDA's own context \(536\.9MB\); raise"):
        guard_for(DEVICE, 512 * MIB)
    assert cuda.caps == []


def test_a_budget_beyond_a_mig_slice_is_refused_and_a_smaller_one_is_held_there(cuda):
    cuda.nvml.mig_mode = cuda.nvml.NVML_DEVICE_MIG_ENABLE
    cuda.nvml.slices = ["slice 0"]
    cuda.nvml.slice_bytes = 5 * GIB
    with pytest.raises(ConfigError, match=r"cuda:0 has \(5\.369GB, its MIG slice\); lower it"):
        guard_for(DEVICE, 6 * GIB)
    assert guard_for(DEVICE, BUDGET).cap_level == "allocator+watchdog+mig"


def test_a_budget_beyond_the_limit_of_mps_is_refused(cuda, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=5G")
    with pytest.raises(ConfigError, match=r"cuda:0 has \(5\.369GB, the limit of MPS\); lower it"):
        guard_for(DEVICE, 6 * GIB)
    guard = guard_for(DEVICE, BUDGET)
    assert guard.cap_level == "allocator+watchdog+mps"
    assert cuda.cap_bytes == BUDGET - cuda.context_bytes


def test_expandable_segments_are_asked_for_before_cuda_starts(cuda):
    assert guard_for(DEVICE, BUDGET).expandable_segments is True
    assert cuda.environment_at_start == "expandable_segments:True"


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_what_the_user_set_for_the_allocator_stays(cuda, monkeypatch, name):
    monkeypatch.setenv(name, "max_split_size_mb:64")
    cuda.is_expandable = False
    assert guard_for(DEVICE, BUDGET).expandable_segments is False
    set_names = [key for key in os.environ if key.endswith("ALLOC_CONF")]
    assert set_names == [name]
    assert os.environ[name] == "max_split_size_mb:64"


def test_once_cuda_runs_it_is_too_late_for_expandable_segments(cuda):
    cuda.has_context = True
    cuda.is_expandable = False
    assert guard_for(DEVICE, BUDGET).expandable_segments is False
    assert "PYTORCH_ALLOC_CONF" not in os.environ


def test_an_allocator_without_snapshots_says_nothing_about_its_segments(cuda, monkeypatch):
    def refuse():
        raise RuntimeError("cudaMallocAsync does not yet support snapshot")

    monkeypatch.setattr(torch.cuda, "memory_snapshot", refuse)
    assert guard_for(DEVICE, BUDGET).expandable_segments is None


@pytest.mark.skipif(
    not hasattr(torch._C, "_accelerator_getAllocatorSettings"), reason="this torch does not tell"
)
def test_torch_reads_the_name_under_which_expandable_segments_are_asked_for():
    code = (
        "import torch\n"
        "from patchtrain.memory import cuda\n"
        "cuda._ask_for_expandable_segments()\n"
        "print(torch._C._accelerator_getAllocatorSettings())"
    )
    clean = {key: value for key, value in os.environ.items() if not key.endswith("ALLOC_CONF")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)
    assert run.stdout.strip() == "expandable_segments:True"


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU_BUDGET = 2 * 10**9

TRAIN = """
import json, os, sys
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
import torch
from patchtrain.errors import BudgetExceeded
from patchtrain.memory.budget import guard_for

def train(budget_bytes, num_steps, batch_size):
    torch.manual_seed(0)
    torch.backends.cudnn.deterministic = True
    guard = guard_for(torch.device("cuda"), budget_bytes)
    losses = []
    try:
        with guard:
            network = torch.nn.Sequential(
                torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(),
                torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU(),
                torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 3),
            ).cuda()
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            generator = torch.Generator().manual_seed(0)
            for _ in range(num_steps):
                images = torch.rand(batch_size, 3, 256, 256, generator=generator).cuda()
                with guard.doing("inner_iteration"):
                    loss = network(images).square().mean()
                    loss.backward()
                with guard.doing("optimizer"):
                    optimizer.step()
                    optimizer.zero_grad()
                losses.append(loss.item())
    finally:
        guard.release()
    return guard, losses

def ended(budget_bytes, num_steps, batch_size):
    try:
        guard, losses = train(budget_bytes, num_steps, batch_size)
    except BudgetExceeded as error:
        return {"phase": error.phase, "needed_bytes": error.needed_bytes}
    peak = guard.peak()
    return {"losses": losses, "cap_level": guard.cap_level,
            "process_bytes": peak.process_bytes, "reserved_bytes": peak.reserved_bytes}
"""


def train_in_processes(*lines):
    """Run each of `lines` after `TRAIN` in a process of its own, all at once."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    code = [f"{TRAIN}\nprint(json.dumps({line}))" for line in lines]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", part], stdout=subprocess.PIPE, text=True, env=environment
        )
        for part in code
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.gpu
@needs_gpu
def test_the_process_as_a_whole_stays_within_its_budget():
    (run,) = train_in_processes(f"ended({GPU_BUDGET}, 20, 8)")
    assert len(run["losses"]) == 20
    assert 0 < run["reserved_bytes"] <= GPU_BUDGET
    assert run["cap_level"].startswith("allocator")
    if "watchdog" in run["cap_level"]:
        assert run["reserved_bytes"] < run["process_bytes"] <= GPU_BUDGET


@pytest.mark.gpu
@needs_gpu
def test_a_trial_that_overruns_does_not_harm_its_neighbour():
    quiet = f"ended({GPU_BUDGET}, 60, 8)"
    (alone,) = train_in_processes(quiet)
    beside, loud = train_in_processes(quiet, f"[ended({GPU_BUDGET}, 5, 512) for _ in range(3)]")
    assert beside["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert [run["phase"] for run in loud] == ["inner_iteration"] * 3
    assert all(run["needed_bytes"] > GPU_BUDGET for run in loud)


@pytest.mark.gpu
@needs_gpu
def test_a_trial_after_an_overrun_in_the_same_process_is_as_if_alone():
    (alone,) = train_in_processes(f"ended({GPU_BUDGET}, 20, 8)")
    ((failed, after),) = train_in_processes(
        f"[ended({GPU_BUDGET}, 5, 512), ended({GPU_BUDGET}, 20, 8)]"
    )
    assert failed["phase"] == "inner_iteration"
    assert after["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert after["cap_level"] == alone["cap_level"]
    assert after["reserved_bytes"] <= 1.1 * alone["reserved_bytes"]


@pytest.mark.gpu
@needs_gpu
def test_the_allocators_cap_raises_and_is_lifted():
    guard = guard_for(torch.device("cuda"), GPU_BUDGET)
    with pytest.raises(BudgetExceeded, match="in fill"), guard, guard.doing("fill"):
        torch.empty(3 * 10**9, dtype=torch.uint8, device="cuda")
    guard.release()
    torch.empty(3 * 10**9, dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()


@pytest.mark.gpu
@needs_gpu
def test_cuda_peaks_are_at_least_what_tensors_hold():
    guard = guard_for(torch.device("cuda"), None)
    with guard:
        kept = torch.empty(10**8, dtype=torch.uint8, device="cuda")
    assert guard.peak().allocated_bytes >= 10**8
    assert guard.peak().reserved_bytes >= guard.peak().allocated_bytes
    del kept
    guard.release()
