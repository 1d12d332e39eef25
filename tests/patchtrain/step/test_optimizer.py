"""AdamW's kernels differ only in memory; fp16 skips steps that overflowed."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from patchtrain.memory.meter import OPTIMIZER, MemoryMeter
from patchtrain.step.optimizer import LossScaler, build_optimizer

KERNELS = ["fused", "foreach", "loop"]
CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.Linear(128, 3))


def loss_of(net: nn.Module, step: int) -> torch.Tensor:
    inputs = torch.randn(8, 64, generator=generator(step))
    return net(inputs).square().sum()


def trained(kernel: str, steps: int = 5) -> nn.Sequential:
    net = network()
    config = tiny(optimizer_kernel=kernel, learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(config, net.parameters())
    for step in range(steps):
        loss_of(net, step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


def test_auto_is_fused():
    assert build_optimizer(tiny(), network().parameters()).defaults["fused"] is True
    foreach = build_optimizer(tiny(optimizer_kernel="foreach"), network().parameters())
    assert (foreach.defaults["fused"], foreach.defaults["foreach"]) == (False, True)
    loop = build_optimizer(tiny(optimizer_kernel="loop"), network().parameters())
    assert (loop.defaults["fused"], loop.defaults["foreach"]) == (False, False)


def test_the_settings_reach_the_optimizer():
    config = tiny(learning_rate=0.5, weight_decay=0.25)
    (group,) = build_optimizer(config, network().parameters()).param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


@pytest.mark.parametrize("kernel", ["foreach", "loop", "auto"])
def test_all_kernels_give_the_same_weights(kernel):
    start = network()
    for first, one, other in zip(
        start.parameters(),
        trained("fused").parameters(),
        trained(kernel).parameters(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert (one - first).abs().max() > 0.01


def step_peak_bytes(kernel: str) -> int:
    """The most that the second optimizer step of 6 equal layers holds."""
    net = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(6)))
    optimizer = build_optimizer(tiny(optimizer_kernel=kernel), net.parameters())
    meter = MemoryMeter()
    with meter:
        for step in range(2):
            loss_of(net, step).backward()
            meter.reset_peak()
            with meter.allocating(OPTIMIZER):
                optimizer.step()
    return meter.peak_bytes


def test_fused_holds_less_than_a_loop_and_a_loop_less_than_all_at_once():
    fused, foreach, loop = (step_peak_bytes(kernel) for kernel in KERNELS)
    layer_bytes = 4 * 64 * 64
    assert fused < loop < foreach
    assert layer_bytes <= loop - fused <= 3 * layer_bytes
    assert foreach - fused >= 6 * layer_bytes


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_scaled_step_is_the_step(kernel):
    expected, net = trained(kernel, steps=1), network()
    config = tiny(optimizer_kernel=kernel, learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(config, net.parameters())
    scaler = LossScaler(CPU, enabled=True)
    loss = loss_of(net, 0)
    scaled = scaler.scale(loss)
    assert scaled.item() == pytest.approx(65536 * loss.item())
    scaled.backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 65536
    for one, other in zip(expected.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_step_that_overflowed_is_skipped_and_lowers_the_scale(kernel, value):
    net = network()
    before = copy.deepcopy(net.state_dict())
    optimizer = build_optimizer(tiny(optimizer_kernel=kernel), net.parameters())
    scaler = LossScaler(CPU, enabled=True)
    scaler.scale(loss_of(net, 0)).backward()
    last = list(net.parameters())[-1].grad
    assert last is not None
    last[1] = value
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 32768
    assert not any(slots.get("step", 0) for slots in optimizer.state.values())
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, before[name])

    optimizer.zero_grad()
    scaler.scale(loss_of(net, 1)).backward()
    scaler.step(optimizer)
    assert not torch.equal(net.state_dict()["0.weight"], before["0.weight"])


def test_a_scaler_that_is_not_enabled_does_nothing():
    expected, net = trained("fused", steps=2), network()
    config = tiny(learning_rate=0.01, weight_decay=0.1)
    optimizer = build_optimizer(config, net.parameters())
    scaler = LossScaler(CPU, enabled=False)
    for step in range(2):
        loss = loss_of(net, step)
        assert scaler.scale(loss) is loss
        loss.backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scaler.state_dict() == {}
    for one, other in zip(expected.parameters(), net.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_without_values_is_taken(kernel):
    """Tensors without content cannot tell whether they overflowed."""
    with FakeTensorMode():
        net = nn.Linear(4, 4)
        optimizer = build_optimizer(tiny(optimizer_kernel=kernel), net.parameters())
        scaler = LossScaler(CPU, enabled=True)
        scaler.scale(net(torch.ones(1, 4)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert all("exp_avg" in slots for slots in optimizer.state.values())
    assert len(optimizer.state) == 2


def test_only_fp16_scales_the_loss():
    for precision, enabled in (("fp32", False), ("bf16", False), ("fp16", True)):
        engine, _ = build_engine(tiny(method="downsampled", precision=precision))
        assert bool(engine.state()["scaler"]) == enabled


def test_a_resumed_fp16_engine_continues_as_if_never_stopped():
    """The scale falls in the first steps, so a scaler that starts afresh would skip other steps."""
    config = tiny(method="downsampled", precision="fp16", norm="group")

    def train(engine, guard, numbers):
        with guard:
            for number in numbers:
                engine.train_batch(random_batch(config, seed=number), generator(number))

    straight, guard = build_engine(config)
    train(straight, guard, range(6))

    first, first_guard = build_engine(config)
    train(first, first_guard, range(3))
    state = copy.deepcopy(first.state())
    assert state["scaler"]["scale"] < 65536
    weights = {name: value.clone() for name, value in first.network.state_dict().items()}
    second, second_guard = build_engine(config)
    with second_guard:
        second.load_state(weights, state)
    train(second, second_guard, range(3, 6))

    assert second.state()["scaler"] == straight.state()["scaler"]
    for one, other in zip(straight.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    for name in ("optimizer", "parameters"):
        assert second_guard.peak().by_category[name] == guard.peak().by_category[name]
