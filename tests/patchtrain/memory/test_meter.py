from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from patchtrain.memory.exceeded import BudgetExceeded
from patchtrain.memory.meter import (
    ACTIVATIONS,
    BLOCK_BYTES,
    CATEGORIES,
    GRADIENTS,
    INPUT,
    LATENT,
    OPTIMIZER,
    PARAMETERS,
    MemoryMeter,
    rounded,
)
from patchtrain.memory.trace import ALLOCATE, FREE, MOVE_IN, MOVE_OUT, TraceRecorder


@pytest.mark.parametrize(("size", "block"), [(0, 0), (1, 512), (512, 512), (513, 1024)])
def test_sizes_round_up_to_whole_blocks(size, block):
    assert rounded(size) == block


def test_a_storage_counts_once_and_until_its_last_view_dies():
    meter = MemoryMeter()
    with meter:
        whole = torch.empty(1000)  # 4000 bytes: 8 blocks
        view = whole[:3]
        assert meter.live_bytes == 4096
        del whole
        assert meter.live_bytes == 4096
        del view
        assert meter.live_bytes == 0
    assert meter.peak_bytes == 4096


def test_peak_is_the_highest_sum_of_a_hand_worked_sequence():
    meter = MemoryMeter()
    with meter:
        a = torch.zeros(256)  # 1024
        b = a + 1  # 1024 more
        del a
        c = torch.cat([b, b])  # 1024 + 2048
        del b
        d = c.sum()  # 2048 + 512
    assert meter.live_bytes == 2048 + 512
    assert meter.peak_bytes == 1024 + 2048
    del c, d
    assert meter.live_bytes == 0


def test_frees_are_seen_while_the_meter_is_inactive():
    meter = MemoryMeter()
    with meter:
        tensor = torch.empty(128)
    del tensor
    assert meter.live_bytes == 0


def test_other_devices_and_host_tensors_count_nothing():
    meter = MemoryMeter()
    with meter:
        on_meta = torch.empty(1000, device="meta")
        with meter.on_host():
            host = torch.empty(1000)
        view_of_host = host[:10]
    assert meter.live_bytes == meter.peak_bytes == 0
    del on_meta, view_of_host


def test_resizing_in_place_is_seen():
    meter = MemoryMeter()
    with meter:
        tensor = torch.empty(128)
        tensor.resize_(1024)
        assert meter.live_bytes == 4096


def test_an_adopted_host_tensor_counts_from_then_on():
    meter = MemoryMeter()
    with meter:
        with meter.on_host():
            host = torch.empty(128)
        meter.adopt([host], OPTIMIZER)
    assert meter.live_bytes == 512
    assert meter.peak_by_category[OPTIMIZER] == 512


def train_two_steps(meter: MemoryMeter) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    with meter:
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
        meter.adopt(net.parameters(), PARAMETERS)
        for parameter in net.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: meter.adopt([p.grad], GRADIENTS))
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        for _ in range(2):
            with meter.allocating(INPUT):
                images = torch.randn(4, 3, 8, 8)
            with meter.doing("inner_iteration"):
                net(images).sum().backward()
            with meter.doing("optimizer"), meter.allocating(OPTIMIZER):
                optimizer.step()
                optimizer.zero_grad()
            del images
    return net, optimizer


def test_what_is_left_after_a_step_is_parameters_and_optimizer_state():
    meter = MemoryMeter()
    net, _optimizer = train_two_steps(meter)
    parameters = sum(rounded(4 * p.numel()) for p in net.parameters())
    steps = 512 * len(list(net.parameters()))  # AdamW's step counters
    assert meter.live_bytes == parameters + 2 * parameters + steps


def test_the_peak_is_explained_by_its_categories():
    meter = MemoryMeter()
    net, _ = train_two_steps(meter)
    assert sum(meter.peak_by_category.values()) == meter.peak_bytes
    parameters = sum(rounded(4 * p.numel()) for p in net.parameters())
    assert meter.peak_by_category[PARAMETERS] == parameters
    assert meter.peak_by_category[OPTIMIZER] >= 2 * parameters
    assert meter.peak_by_category[ACTIVATIONS] > 0
    assert meter.peak_by_category[LATENT] == 0
    assert meter.peak_phase in ("inner_iteration", "optimizer")


def test_two_runs_count_the_same():
    one, other = MemoryMeter(), MemoryMeter()
    train_two_steps(one)
    gc.collect()
    train_two_steps(other)
    assert one.peak_bytes == other.peak_bytes
    assert one.peak_by_category == other.peak_by_category


def test_a_limit_of_the_peak_passes_and_one_block_less_does_not():
    free = MemoryMeter()
    train_two_steps(free)
    exact = MemoryMeter(limit_bytes=free.peak_bytes)
    train_two_steps(exact)
    assert exact.peak_bytes == free.peak_bytes
    with pytest.raises(BudgetExceeded) as caught:
        train_two_steps(MemoryMeter(limit_bytes=free.peak_bytes - 512))
    assert isinstance(caught.value, torch.OutOfMemoryError)
    assert caught.value.needed_bytes == free.peak_bytes
    assert caught.value.budget_bytes == free.peak_bytes - 512
    assert "over the budget" in str(caught.value)


def test_the_limit_is_raised_out_of_a_backward_pass():
    meter = MemoryMeter()
    weight = torch.ones(1000, requires_grad=True)
    with meter:
        loss = (weight * 2).exp().sum()
        meter.limit_bytes = meter.live_bytes
        with pytest.raises(BudgetExceeded):
            loss.backward()


def test_timeline_records_every_change_while_wanted():
    meter = MemoryMeter()
    with meter:
        with meter.recording(True), meter.doing("fill"):
            tensor = torch.empty(128)
            del tensor
        ignored = torch.empty(128)
    assert [sum(point.live_bytes) for point in meter.timeline] == [512, 0]
    assert {point.phase for point in meter.timeline} == {"fill"}
    del ignored


def traced(meter: MemoryMeter) -> TraceRecorder:
    meter.trace = TraceRecorder()
    return meter.trace


def test_a_trace_adds_up_to_the_peak_that_the_meter_saw():
    meter = MemoryMeter()
    recorder = traced(meter)
    train_two_steps(meter)
    peak = recorder.trace().peak(BLOCK_BYTES, len(CATEGORIES))
    assert peak.num_bytes == meter.peak_bytes
    assert peak.phase == meter.peak_phase
    assert dict(zip(CATEGORIES, peak.by_category, strict=True)) == meter.peak_by_category


def test_a_trace_has_exact_sizes_categories_and_phases_in_order():
    meter = MemoryMeter()
    recorder = traced(meter)
    with meter:
        with meter.doing("fill"), meter.allocating(INPUT):
            tensor = torch.empty(100)
        meter.adopt([tensor], LATENT)
        with meter.doing("step"):
            del tensor
    trace = recorder.trace()
    assert trace.kind.tolist() == [ALLOCATE, MOVE_OUT, MOVE_IN, FREE]
    assert trace.num_bytes.tolist() == [400] * 4
    assert len(set(trace.block.tolist())) == 1
    assert [CATEGORIES[number] for number in trace.category] == [INPUT, INPUT, LATENT, LATENT]
    assert [trace.phases[number] for number in trace.phase] == ["fill", "setup", "setup", "step"]


def test_a_block_has_a_number_of_its_own_though_memory_is_used_again():
    meter = MemoryMeter()
    recorder = traced(meter)
    with meter:
        for _ in range(50):
            torch.empty(100)
    trace = recorder.trace()
    allocated = trace.block[trace.kind == ALLOCATE].tolist()
    assert len(set(allocated)) == len(allocated) == 50


def test_a_resized_storage_is_freed_and_allocated_in_the_trace():
    meter = MemoryMeter()
    recorder = traced(meter)
    with meter:
        with meter.allocating(INPUT):
            tensor = torch.empty(128)
        tensor.resize_(1024)
        assert meter.live_bytes == 4096
        del tensor
    assert meter.live_bytes == 0
    trace = recorder.trace()
    assert trace.kind.tolist() == [ALLOCATE, FREE, ALLOCATE, FREE]
    assert trace.num_bytes.tolist() == [512, 512, 4096, 4096]
    first, second = trace.block[0], trace.block[2]
    assert first != second
    assert trace.block.tolist() == [first, first, second, second]
    assert {CATEGORIES[number] for number in trace.category} == {INPUT}


def test_a_storage_resized_within_its_block_changes_the_trace_and_not_the_count():
    meter = MemoryMeter()
    recorder = traced(meter)
    with meter:
        tensor = torch.empty(10)
        tensor.resize_(20)
        assert meter.live_bytes == 512
    assert recorder.trace().num_bytes.tolist() == [40, 40, 80]


def test_the_trace_leaves_the_host_out_and_takes_in_what_is_adopted_from_it():
    meter = MemoryMeter()
    recorder = traced(meter)
    with meter:
        with meter.on_host():
            host, moved = torch.empty(1000), torch.empty(128)
        meter.adopt([moved], OPTIMIZER)
        del host
    peak = recorder.trace().peak(BLOCK_BYTES, len(CATEGORIES))
    assert peak.num_bytes == meter.peak_bytes == 512
    assert dict(zip(CATEGORIES, peak.by_category, strict=True)) == meter.peak_by_category
    del moved
    requests = recorder.trace().requests()
    assert requests[1] == [512, -512]
