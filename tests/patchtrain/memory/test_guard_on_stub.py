"""The guard over torch's real allocator, on a CUDA device without a GPU: caps, watch, verdicts.

Longer than 400 lines because one stub device serves all of them. Functions above a test run in a
process on the stub.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import pytest
import torch
from cuda_stub.server import Failed

from patchtrain.errors import ConfigError
from patchtrain.memory.cuda import _measured
from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.facts import ASSUMED, PAGE_BYTES, recall, remember
from patchtrain.memory.guards import guard_for
from patchtrain.memory.out_of_memory import is_out_of_memory

pytestmark = pytest.mark.cuda_stub

MIB, GIB = 2**20, 2**30
G = 50 * PAGE_BYTES
"""About a GiB, in whole pages."""
DEVICE = torch.device("cuda", 0)
CONTEXT = 500 * MIB
BUDGET = 4 * GIB


def books():
    from cuda_stub.books import BOOKS

    return BOOKS


def block(num_bytes):
    return torch.empty(num_bytes, dtype=torch.uint8, device=DEVICE)


def limit_bytes():
    return round(torch.cuda.get_per_process_memory_fraction(DEVICE) * books().total_bytes)


def watchdog_threads():
    return [thread for thread in threading.enumerate() if thread.name == "memory watchdog"]


def outcome(guard, work, phase="fill"):
    """Return how `work` ends within the guard: `completed`, or the error's type and text."""
    try:
        with guard, guard.doing(phase):
            work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "completed"


def fill(kept, size=11 * MIB):
    while True:
        try:
            kept.append(block(size))
        except RuntimeError as error:  # before 2.14 also torch's report of who holds the memory
            assert is_out_of_memory(error, was_refused=False, free_bytes=None)
            return


# --- the cap ---


def measured():
    guard = guard_for(DEVICE, BUDGET)
    facts = recall("Stub GPU", "580.00.stub", torch.__version__)
    return [limit_bytes(), guard.cap_level, guard.facts.context_bytes, facts == guard.facts]


def test_the_cap_is_the_budget_less_the_context_and_a_page(stub):
    limit, level, context, is_kept = stub.run(measured)
    assert limit == BUDGET - CONTEXT - PAGE_BYTES
    assert (level, context, is_kept) == ("allocator+watchdog", CONTEXT, True)


def measured_with_libraries(precision):
    import cuda_stub.ops as ops

    ops.load_kernels(convolution=120 * MIB, product=60 * MIB)
    guard = guard_for(DEVICE, BUDGET, precision)
    return [guard.facts.context_bytes, torch.cuda.memory_reserved()]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_what_libraries_load_first_is_part_of_the_context(stub, precision):
    assert stub.run(measured_with_libraries, precision) == [CONTEXT + 180 * MIB, 0]


def to_the_brim(budget_bytes):
    guard = guard_for(DEVICE, budget_bytes)
    kept = []
    told = outcome(guard, lambda: (fill(kept), time.sleep(0.15)))
    return [told, books().process_bytes, guard.peak().process_bytes, guard.expandable_segments]


@pytest.mark.parametrize("extra", [0, 1, 7 * MIB, 13 * MIB, 19 * MIB])
@pytest.mark.parametrize("native", [False, True])
def test_a_process_at_its_cap_is_within_its_budget_and_goes_on(stub, extra, native):
    budget_bytes = CONTEXT + 1400 * MIB + extra
    device = {"finds_device": 0} if native else {}
    if native:  # NVML does not know the device, so the context is assumed
        budget_bytes += ASSUMED.context_bytes - CONTEXT
    told, process, recorded, grows = stub.run(to_the_brim, budget_bytes, device=device)
    assert told == "completed" and grows is not native
    assert budget_bytes - 150 * MIB < process <= budget_bytes
    assert recorded == (None if native else process)


def without_budget():
    guard = guard_for(DEVICE, None)
    kept = []
    told = outcome(guard, lambda: kept.append(block(6 * G)))
    peak = guard.peak()
    return [told, guard.cap_level, peak.allocated_bytes, peak.process_bytes, limit_bytes()]


def test_without_a_budget_nothing_is_capped_but_the_process_is_watched(stub):
    told, level, allocated, process, limit = stub.run(without_budget)
    assert (told, level, limit) == ("completed", "none", 80 * GIB)
    assert (allocated, process) == (6 * G, 6 * G + CONTEXT)


def over_the_cap():
    guard = guard_for(DEVICE, BUDGET)
    try:
        with guard, guard.doing("inner_iteration"):
            with guard.doing("fill"):
                kept = block(3 * G)
            block(GIB)
    except BudgetExceeded as error:
        return [str(error), error.phase, error.budget_bytes, error.needed_bytes, error.__cause__ is
                not None, "kept" in locals()]  # fmt: skip


@pytest.mark.parametrize("lists_nothing", [0, 1])
def test_an_overrun_is_told_where_processes_cannot_be_listed(stub, lists_nothing):
    told, *_ = stub.run(over_the_cap, device={"lists_nothing": lists_nothing})
    assert told.startswith("out of memory in inner_iteration")


def test_the_allocators_overrun_is_reported_with_phase_amounts_and_remedy(stub):
    text, phase, budget, needed, has_cause, _ = stub.run(over_the_cap)
    assert (phase, budget, needed) == ("inner_iteration", BUDGET, 3 * G + GIB + CONTEXT)
    assert has_cause and "\n" not in text and "If reserved" not in text
    assert text.startswith("out of memory in inner_iteration: cuda:0 was asked for 1.074GB more")
    assert (
        f"over the budget of {BUDGET} bytes by {needed - BUDGET}; raise budget, or lower " in text
    )


def device_filled_by_others():
    guard = guard_for(DEVICE, BUDGET)
    books().other_bytes = books().total_bytes - CONTEXT - 510 * MIB
    return outcome(guard, lambda: block(GIB))


def test_a_full_device_is_told_apart_from_a_full_budget(stub):
    assert "device has 534.8MB free besides other processes" in stub.run(device_filled_by_others)


def two_trials_in_a_process():
    first = guard_for(DEVICE, BUDGET)
    kept = []
    told = [outcome(first, lambda: [kept.append(block(G)) for _ in range(9)])]
    del kept[1:]  # something still holds one
    first.release()
    told.append(limit_bytes() == books().total_bytes)
    second = guard_for(DEVICE, 3 * GIB)
    told.append(limit_bytes())
    told.append(outcome(second, lambda: kept.append(block(G))))
    return [*told, second.peak().allocated_bytes, second.peak().process_bytes]


def test_a_trial_after_an_overrun_in_the_same_process_starts_afresh(stub):
    over, is_lifted, limit, after, allocated, process = stub.run(two_trials_in_a_process)
    assert over.startswith("BudgetExceeded: out of memory in fill") and is_lifted
    assert limit == 3 * GIB - CONTEXT - PAGE_BYTES
    assert (after, allocated, process) == ("completed", 2 * G, 2 * G + CONTEXT)


def frees_what_did_not_fit():
    freed = threading.Event()

    class Tensor:
        def __del__(self):
            freed.set()

    def step():
        kept = Tensor()
        block(5 * GIB)
        return kept

    told = outcome(guard_for(DEVICE, BUDGET), step)
    return [told, freed.is_set(), len(watchdog_threads())]


def test_an_overrun_keeps_no_tensor_of_the_step_alive_and_no_thread(stub):
    told, is_freed, num_threads = stub.run(frees_what_did_not_fit)
    assert told.startswith("BudgetExceeded") and is_freed and not num_threads


# --- the watch ---


def context_grows(by_bytes, live_bytes, cached_bytes):
    guard = guard_for(DEVICE, BUDGET)
    kept = []

    def work():
        kept.append(block(live_bytes))
        cached = block(cached_bytes)
        del cached
        books().context_bytes += by_bytes
        time.sleep(0.4)

    told = outcome(guard, work)
    return [told, limit_bytes(), books().process_bytes]


def test_a_context_that_grows_while_memory_is_only_cached_ends_no_trial(stub):
    told, limit, process = stub.run(context_grows, 400 * MIB, 100 * MIB, 3300 * MIB)
    assert told == "completed" and process <= BUDGET
    assert limit == BUDGET - CONTEXT - 400 * MIB - PAGE_BYTES


def test_a_process_over_its_budget_without_cache_ends_with_the_phase_and_the_amount(stub):
    told, *_ = stub.run(context_grows, 1000 * MIB, 3000 * MIB, 20 * MIB)
    assert told.startswith("BudgetExceeded: out of memory in fill: the process held ")
    assert "raise budget, or lower batch_size" in told


def growth_before_a_phase():
    guard = guard_for(DEVICE, BUDGET)
    limits = [limit_bytes()]
    with guard:
        time.sleep(0.3)  # lists are that far apart, at least
        books().context_bytes += 100 * MIB
        with guard.doing("fill"):
            limits.append(limit_bytes())
        time.sleep(0.3)
        books().context_bytes -= 50 * MIB
        with guard.doing("optimizer"):
            limits.append(limit_bytes())
    return limits


def test_growth_just_before_a_phase_lowers_the_cap_in_it_for_good(stub):
    before, after, later = stub.run(growth_before_a_phase)
    assert before - after == 100 * MIB and later == after


def errors_of_the_trial():
    guard = guard_for(DEVICE, BUDGET)
    try:
        with guard:
            books().context_bytes += BUDGET
            raise KeyError("cause")
    except KeyError:
        return len(watchdog_threads())


def test_an_error_of_the_trial_is_not_hidden_by_the_watch(stub):
    assert stub.run(errors_of_the_trial) == 0


def calls_of_the_driver(neighbour_takes):
    guard = guard_for(DEVICE, BUDGET)
    kept = []
    with guard:
        lists, infos = books().num_process_lists, books().num_memory_infos
        for _ in range(20):
            with guard.doing("fill"):
                kept.append(block(30 * MIB))
            books().other_bytes += neighbour_takes
            time.sleep(0.05)
        return [books().num_process_lists - lists, books().num_memory_infos - infos]


@pytest.mark.parametrize(("neighbour_takes", "most_lists"), [(0, 2), (20 * MIB, 14)])
def test_processes_are_listed_seldom_and_used_memory_is_asked_often(
    stub, neighbour_takes, most_lists
):
    lists, infos = stub.run(calls_of_the_driver, neighbour_takes)
    assert infos >= 5 and lists <= most_lists


def new_peak():
    guard = guard_for(DEVICE, BUDGET)
    with guard:
        kept = block(3 * G)
        highest = guard.peak().process_bytes
        del kept
        torch.cuda.empty_cache()
        guard.start_peak()
        return [highest, guard.peak().process_bytes, guard.peak().reserved_bytes]


def test_the_process_has_a_new_peak_when_the_others_have(stub):
    assert stub.run(new_peak) == [3 * G + CONTEXT, CONTEXT, 0]


# --- containers, and what the driver does not say ---


def held_where(own_row, others, budget_bytes=BUDGET):
    books().own_row = own_row
    for pid, num_bytes in others:
        books().list_other(pid, num_bytes)
    guard = guard_for(DEVICE, budget_bytes)
    kept = []
    told = outcome(guard, lambda: kept.append(block(2 * G)))
    return [told, guard.cap_level, limit_bytes(), guard.peak().process_bytes]


OWN_PID, HOST_PID, HIDDEN, ZERO, UNKNOWN_BYTES = range(5)
NEIGHBOUR = [41, 700 * MIB]


@pytest.mark.parametrize(
    ("own_row", "others", "level"),
    [
        (OWN_PID, [NEIGHBOUR], "allocator+watchdog"),
        (HOST_PID, [], "allocator+watchdog"),
        (HOST_PID, [NEIGHBOUR, [42, GIB]], "allocator+watchdog"),
        (HIDDEN, [], "allocator+device_watch"),
        (ZERO, [], "allocator+device_watch"),
        (UNKNOWN_BYTES, [], "allocator+device_watch"),
    ],
)
def test_in_containers_the_context_and_the_process_are_measured(stub, own_row, others, level):
    told, found, limit, process = stub.run(held_where, own_row, others)
    assert (told, found) == ("completed", level)
    assert limit == BUDGET - CONTEXT - PAGE_BYTES
    assert process == CONTEXT + 2 * G


@pytest.mark.parametrize("own_row", [HIDDEN, ZERO, UNKNOWN_BYTES])
def test_beside_others_a_process_that_is_not_listed_is_unknown(stub, own_row):
    told, level, limit, process = stub.run(held_where, own_row, [NEIGHBOUR])
    assert (told, level, process) == ("completed", "allocator+unknown_context", None)
    assert limit == BUDGET - ASSUMED.context_bytes - PAGE_BYTES


def other_with_the_own_number():
    """In a container, another process has this one's number outside of it."""
    books().own_row = HOST_PID
    books().list_other(os.getpid(), 3 * GIB)
    guard = guard_for(DEVICE, BUDGET)
    return [guard.cap_level, guard.facts.context_bytes]


def test_anothers_row_is_not_taken_for_the_own(stub):
    assert stub.run(other_with_the_own_number) == ["allocator+watchdog", CONTEXT]


def neighbour_starts(num_bytes, known_bytes):
    from dataclasses import replace

    books().own_row = HIDDEN
    if known_bytes:
        remember(
            replace(
                ASSUMED,
                name="Stub GPU",
                driver="580.00.stub",
                torch=torch.__version__,
                context_bytes=known_bytes,
            )
        )
    real = torch.cuda.caching_allocator_alloc

    def meanwhile(*arguments):
        books().other_bytes += num_bytes
        return real(*arguments)

    torch.cuda.caching_allocator_alloc = meanwhile
    guard = guard_for(DEVICE, BUDGET)
    return [guard.cap_level, BUDGET - limit_bytes() - PAGE_BYTES]


@pytest.mark.parametrize("num_bytes", [1200 * MIB, 2600 * MIB, 40 * GIB])
@pytest.mark.parametrize("known_bytes", [0, 510 * MIB])
def test_a_neighbour_that_starts_meanwhile_is_not_taken_for_the_context(
    stub, num_bytes, known_bytes
):
    level, taken_off = stub.run(neighbour_starts, num_bytes, known_bytes)
    assert level == "allocator+unknown_context"
    assert taken_off == (known_bytes or ASSUMED.context_bytes)


def later_warm_up(own_row, grown_bytes):
    """A guard for fp32, and one for bf16, whose kernels take more."""
    books().own_row = own_row
    first = guard_for(DEVICE, BUDGET).facts.context_bytes
    books().context_bytes += grown_bytes
    second = guard_for(DEVICE, BUDGET, "bf16")
    return [first, second.facts.context_bytes, second.cap_level, limit_bytes()]


@pytest.mark.parametrize("own_row", [OWN_PID, HOST_PID, HIDDEN, ZERO])
def test_what_the_warm_up_of_another_precision_loads_belongs_to_the_context(stub, own_row):
    first, second, level, limit = stub.run(later_warm_up, own_row, 90 * MIB)
    assert first == CONTEXT and second == CONTEXT + 90 * MIB
    assert limit == BUDGET - second - PAGE_BYTES and "unknown" not in level


def contexts_by_precision():
    guard_for(DEVICE, BUDGET, "bf16")
    books().context_bytes -= 100 * MIB  # as another process finds it that loads less
    _measured.clear()
    facts = guard_for(DEVICE, BUDGET).facts
    return [facts.context_bytes, dict(facts.context_by_precision), limit_bytes()]


def test_the_context_of_each_precision_is_kept_and_the_most_counts(stub):
    most, by_precision, limit = stub.run(contexts_by_precision)
    assert by_precision == {"bf16": CONTEXT, "fp32": CONTEXT - 100 * MIB}
    assert most == CONTEXT
    assert limit == BUDGET - by_precision["fp32"] - PAGE_BYTES  # a trial counts with its own


def growth_unlisted(by_bytes, for_others):
    books().own_row = HIDDEN
    guard = guard_for(DEVICE, BUDGET)
    kept = []
    with guard:
        if for_others:
            books().other_bytes += by_bytes
        else:
            books().context_bytes += by_bytes
        with guard.doing("fill"):
            fill(kept, 20 * MIB)
    over_bytes = books().process_bytes - BUDGET
    return [over_bytes, guard.cap_level, guard.peak().process_bytes == books().process_bytes]


def test_unlisted_a_context_that_grows_is_seen_and_the_budget_holds(stub):
    over, level, is_recorded = stub.run(growth_unlisted, 350 * MIB, False)
    assert over <= 0 and level == "allocator+device_watch" and is_recorded


@pytest.mark.parametrize("num_bytes", [700 * MIB, 900 * MIB, 3 * GIB])
def test_unlisted_others_that_come_end_the_watch_and_no_trial(stub, num_bytes):
    over, level, is_recorded = stub.run(growth_unlisted, num_bytes, True)
    assert over <= 0 and level == "allocator" and not is_recorded


def others_come_while_memory_is_held(num_bytes):
    books().own_row = HIDDEN
    guard = guard_for(DEVICE, BUDGET)
    cap = limit_bytes()

    def work():
        kept = block(BUDGET - CONTEXT - 30 * MIB)
        for change in (num_bytes, -num_bytes) * 3:
            books().other_bytes += change
            time.sleep(0.06)
            with guard.doing("fill"):
                kept[:1].add_(1)

    told = outcome(guard, work)
    return [told, guard.cap_level, guard.peak().process_bytes, limit_bytes() - cap]


@pytest.mark.parametrize("num_bytes", [600 * MIB, 900 * MIB])
def test_unlisted_others_that_come_and_go_take_nothing_from_a_trial_that_fits(stub, num_bytes):
    told = stub.run(others_come_while_memory_is_held, num_bytes)
    assert told == ["completed", "allocator", None, 0]


# --- slices and shared devices ---


def held_in_part(budget_bytes, variables):
    os.environ.update(variables)
    try:
        guard = guard_for(DEVICE, budget_bytes)
    except ConfigError as error:
        return [str(error)]
    return [guard.cap_level, limit_bytes()]


SLICED = {"slice_bytes": 5 * GIB}
SHARED = {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=5G"}


@pytest.mark.parametrize(
    ("device", "variables", "what", "level"),
    [
        (SLICED, {}, "its MIG slice", "mig"),
        ({}, SHARED, "the limit of MPS", "mps"),
        ({"lists_under_mps": 1}, SHARED, "the limit of MPS", "mps"),
    ],
)
def test_a_part_of_a_device_is_no_more_than_it_is(stub, device, variables, what, level):
    (told,) = stub.run(held_in_part, 6 * GIB, variables, device=device)
    assert f"cuda:0 has (5.369GB, {what}); lower it" in told
    found = stub.run(held_in_part, BUDGET, variables, device=device)
    assert found == [f"allocator+watchdog+{level}", BUDGET - CONTEXT - PAGE_BYTES]


def told_of_an_old_driver():
    from patchtrain.device import resolve_device

    books().driver_cuda = 11040
    try:
        resolve_device("cuda")
    except ConfigError as error:
        return str(error)
    return "not refused"


def test_a_driver_too_old_for_this_torch_is_named(stub):
    told = stub.run(told_of_an_old_driver)
    assert "NVIDIA's driver supports CUDA 11.4 and torch" in told and "newer driver" in told


# --- machines without NVML, WSL, Tegra ---


def train_nothing_much(platform=None):
    from patchtrain.memory import segments

    if platform is not None:
        setattr(segments, platform, lambda: True)
    guard = guard_for(DEVICE, BUDGET)
    kept = []
    told = outcome(guard, lambda: kept.append(block(GIB)))
    return [told, guard.expandable_segments, guard.facts.expandable_segments, guard.cap_level]


def test_without_nvmls_library_segments_are_native_and_nothing_crashes(stub_without_nvml):
    told, *grows, level = stub_without_nvml.run(train_nothing_much)
    assert (told, grows) == ("completed", [False, False])
    assert level == "allocator+unknown_context"


@pytest.mark.parametrize(
    ("device", "platform"),
    [
        ({"nvml_status": 9}, None),
        ({"finds_device": 0}, None),
        ({"lists_nothing": 1}, "is_wsl"),
        ({"refuses_access": 1}, None),
        ({}, "is_wsl"),
        ({}, "is_tegra"),
    ],
    ids=str,
)
def test_where_segments_cannot_grow_they_are_native(stub, device, platform):
    told, *grows, _ = stub.run(train_nothing_much, platform, device=device)
    assert (told, grows) == ("completed", [False, False])


def with_settings(variables):
    os.environ.update(variables)
    try:
        guard = guard_for(DEVICE, BUDGET)
    except ConfigError as error:
        return str(error)
    return guard.expandable_segments


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_what_the_user_set_stays_unless_torch_would_crash(stub, name):
    assert stub.run(with_settings, {name: "max_split_size_mb:64"}) is False
    crashing = {"nvml_status": 9}
    growing = {name: "expandable_segments:True"}
    told = stub.run(with_settings, growing, device=crashing)
    assert told.startswith(f"{name}='expandable_segments:True': expandable_segments would crash")
    assert "take it out" in told
    harmless = {"PYTORCH_ALLOC_CONF": "max_split_size_mb:64", **growing}
    if len(harmless) == 2:
        told = stub.run(with_settings, harmless, device=crashing)
        assert told.startswith(f"{name}='expandable_segments:True': expandable_segments would")


def test_an_allocator_that_is_turned_off_is_refused(stub):
    told = stub.run(with_settings, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    assert "PYTORCH_NO_CUDA_MEMORY_CACHING='1' turns off torch's allocator" in told
    assert told.endswith("unset it")


# --- what libraries say when memory runs out ---


def library_says(text, refused_bytes, free_bytes):
    guard = guard_for(DEVICE, BUDGET)
    if free_bytes is not None:
        books().other_bytes = books().total_bytes - books().process_bytes - free_bytes

    def work():
        if refused_bytes:
            with suppress(torch.OutOfMemoryError):  # as a library that then tries another way
                block(refused_bytes)
        raise RuntimeError(text)

    return outcome(guard, work)


CERTAIN = [
    "CUDA error: out of memory\nCUDA kernel errors might be reported later",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp":1165, please',
]
AMBIGUOUS = [
    "GET was unable to find an engine to execute this computation",
    "cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support the graph.",
    "FIND was unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "No valid execution plans built.",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    'found INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1062, please report',
]


@pytest.mark.parametrize("text", CERTAIN)
def test_libraries_of_cuda_run_out_of_memory_too(stub, text):
    told = stub.run(library_says, text, 0, None)
    assert told.startswith("BudgetExceeded: out of memory in fill") and "\n" not in told


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_may_mean_something_else_counts_if_memory_was_refused(stub, text):
    assert stub.run(library_says, text, 5 * GIB, None).startswith("BudgetExceeded: out of memory")
    assert stub.run(library_says, text, 0, 20 * MIB).startswith("BudgetExceeded: out of memory")
    assert stub.run(library_says, text, 0, None) == f"RuntimeError: {text}"


FAILURES = [
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`",
]


@pytest.mark.parametrize("text", FAILURES)
def test_a_failure_counts_only_if_memory_was_refused_in_the_same_phase(stub, text):
    assert stub.run(library_says, text, 5 * GIB, None).startswith("BudgetExceeded: out of memory")
    assert stub.run(library_says, text, 0, 20 * MIB) == f"RuntimeError: {text}"
    assert stub.run(fails_later, text) == f"RuntimeError: {text}"


def fails_later(text):
    """A phase gets over a refusal, and a later one fails for another reason."""
    guard = guard_for(DEVICE, BUDGET)
    try:
        with guard:
            with guard.doing("fill"), suppress(torch.OutOfMemoryError):
                block(5 * GIB)
            with guard.doing("inner_iteration"), guard.doing("head"):
                raise RuntimeError(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_other_errors_pass(stub):
    assert stub.run(library_says, "shapes differ", 5 * GIB, None) == "RuntimeError: shapes differ"


def mapping_refused():
    guard = guard_for(DEVICE, BUDGET)

    def work():
        books().refuses_mapping = 1
        block(GIB)

    return outcome(guard, work)


def test_a_driver_that_refuses_pages_is_out_of_memory(stub):
    assert stub.run(mapping_refused).startswith("BudgetExceeded: out of memory in fill")


# --- bad input ---


def refused(budget_bytes, precision="fp32", others=(), lists_nothing=0):
    for pid, num_bytes in others:
        books().list_other(pid, num_bytes)
    books().lists_nothing = lists_nothing
    try:
        guard_for(DEVICE, budget_bytes, precision)
    except ConfigError as error:
        return str(error)


def test_a_budget_beyond_the_device_or_below_its_context_is_refused(stub):
    assert "budget=90GB is more than cuda:0 has (85.9GB)" in stub.run(refused, 90 * 10**9)
    assert "budget=100MB does not hold CUDA's own context (524.3MB)" in stub.run(refused, 10**8)


def test_a_budget_that_others_leave_no_room_for_names_them(stub):
    told = stub.run(refused, 8 * 10**9, "fp32", [[4711, 70 * GIB], [815, 5 * GIB]])
    assert "budget=8GB is more than the 5.369GB that others leave of cuda:0" in told
    assert "process 4711: 75.16GB, process 815: 5.369GB" in told
    told = stub.run(refused, 8 * 10**9, "fp32", [[4711, 80 * GIB - CONTEXT - MIB]])
    assert "cuda:0 has no room for CUDA's own context" in told and "process 4711: 85" in told
    told = stub.run(refused, 8 * 10**9, "fp32", [[4711, 75 * GIB]], 1)
    assert "(the driver does not say who)" in told


@pytest.mark.parametrize(("precision", "other"), [("bf16", "fp16 or fp32"), ("tf32", "fp32")])
def test_a_precision_that_the_gpu_does_not_have_is_refused(stub, precision, other):
    told = stub.run(refused, BUDGET, precision, device={"compute_major": 7})
    assert told.startswith(f"precision={precision!r} needs a GPU of compute capability 8.0")
    assert told.endswith(f"has 7.0; use precision={other}")
    assert stub.run(refused, BUDGET, precision) is None


def fp32_inside(precision):
    guard = guard_for(DEVICE, BUDGET, precision)
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [one.fp32_precision for one in settings]
    with guard:
        inside = [one.fp32_precision for one in settings]
    return [inside, before == [one.fp32_precision for one in settings]]


@pytest.mark.parametrize(
    ("precision", "means"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")]
)
def test_fp32_is_fp32_within_the_guard_and_as_before_after_it(stub, precision, means):
    assert stub.run(fp32_inside, precision) == [[means, means], True]


def test_a_crash_on_the_stub_is_seen(stub):
    with pytest.raises(Failed, match="SystemExit: 3"):
        stub.run(leave)


def leave():
    raise SystemExit(3)
