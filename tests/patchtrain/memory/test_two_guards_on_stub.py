"""Two trials in two processes at the same time on one CUDA device, which has no GPU."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest
import torch

from patchtrain.errors import ConfigError
from patchtrain.memory.guards import guard_for

pytestmark = pytest.mark.cuda_stub

MIB, GIB = 2**20, 2**30
DEVICE = torch.device("cuda", 0)
CONTEXT = 500 * MIB
BUDGET = 2 * GIB
BLOCK = 20 * MIB
WATCHED_S = 0.5


def books():
    from cuda_stub.books import BOOKS

    return BOOKS


def block():
    return torch.empty(BLOCK, dtype=torch.uint8, device=DEVICE)


def stay_within(kept):
    for _ in range(30):
        kept.append(block())
    time.sleep(WATCHED_S)


def allocate_too_much(kept):
    while True:
        kept.append(block())


def have_libraries_load_more(kept):
    stay_within(kept)
    books().context_bytes += BUDGET  # outside torch's allocator
    time.sleep(WATCHED_S)


WORKS = {work.__name__: work for work in (stay_within, allocate_too_much, have_libraries_load_more)}


def trial(work, own_row, both_are_there, answers):
    books().own_row = own_row
    guard, kept = None, []
    try:
        guard = guard_for(DEVICE, BUDGET)
        both_are_there.wait(timeout=20)
        with guard, guard.doing("fill"):
            WORKS[work](kept)
        ended = "completed"
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    own_bytes = books().process_bytes
    both_are_there.wait(timeout=20)
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    both_are_there.wait(timeout=20)
    level = guard and [guard.cap_level, guard.facts.context_bytes, guard.peak().process_bytes]
    answers.put([work, ended, level, own_bytes, total_bytes - free_bytes])


def two_trials(shared, works, own_row, total_bytes):
    """Return how two trials ended that ran at the same time, by what they did."""
    os.environ["CUDA_STUB_SHARED"] = shared
    books().total_bytes = total_bytes
    fork = multiprocessing.get_context("fork")
    both_are_there, answers = fork.Barrier(2), fork.Queue()
    processes = [
        fork.Process(target=trial, args=(work, own_row, both_are_there, answers)) for work in works
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return sorted(found)


@pytest.mark.parametrize("own_row", [0, 1], ids=["own number", "number of the host"])
@pytest.mark.parametrize("work", ["allocate_too_much", "have_libraries_load_more"])
def test_an_overrun_ends_its_own_trial_and_not_the_other(stub, tmp_path, work, own_row):
    shared = str(tmp_path / "gpu")
    over, within = stub.run(two_trials, shared, [work, "stay_within"], own_row, 80 * GIB)
    assert over[1].startswith("BudgetExceeded: out of memory in fill")
    assert within[1] == "completed"
    level, context_bytes, peak_bytes = within[2]
    assert (level, context_bytes) == ("allocator+watchdog", CONTEXT)
    assert peak_bytes == within[3] <= BUDGET
    assert within[4] == over[4] == within[3] + over[3]  # they did share the device


def test_each_measures_its_own_context_and_peak(stub, tmp_path):
    found = stub.run(two_trials, str(tmp_path / "gpu"), ["stay_within"] * 2, 0, 80 * GIB)
    for _, ended, (level, context_bytes, peak_bytes), own_bytes, _ in found:
        assert (ended, level, context_bytes) == ("completed", "allocator+watchdog", CONTEXT)
        assert peak_bytes == own_bytes


def test_where_the_driver_lists_no_process_the_second_is_not_taken_for_the_firsts(stub, tmp_path):
    found = stub.run(two_trials, str(tmp_path / "gpu"), ["stay_within"] * 2, 2, 80 * GIB)
    assert [ended for _, ended, *_ in found] == ["completed"] * 2
    for _, _, (level, context_bytes, _), _, _ in found:
        # the first is watched by what the device has in use, until the second comes
        assert level in ("allocator", "allocator+device_watch", "allocator+unknown_context")
        assert context_bytes == CONTEXT or level == "allocator+unknown_context"


def test_a_device_too_small_for_both_refuses_the_second_and_names_the_first(stub, tmp_path):
    shared = str(tmp_path / "gpu")
    pid, refused = stub.run(a_second_trial_without_room, shared)
    assert refused.startswith("budget=2.147GB")
    assert f"process {pid}" in refused


def a_second_trial_without_room(shared):
    os.environ["CUDA_STUB_SHARED"] = shared
    books().total_bytes = 3 * GIB
    pipe_in, pipe_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = [block() for _ in range(60)]
        os.write(pipe_out, b"ready")
        time.sleep(60 * bool(kept))
        os._exit(0)
    os.read(pipe_in, 5)
    try:
        guard_for(DEVICE, BUDGET)
        refused = "not refused"
    except ConfigError as error:
        refused = str(error)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return pid, refused
