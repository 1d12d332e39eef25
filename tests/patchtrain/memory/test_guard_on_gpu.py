"""The budget on a GPU: the process keeps to it, and an overrun harms no other trial."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.guards import guard_for

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU_BUDGET = 2 * 10**9

TRAIN = """
import json, os, sys
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
import torch
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.guards import guard_for

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
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
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
