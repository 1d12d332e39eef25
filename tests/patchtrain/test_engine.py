"""The step that decides memory: budgets, accumulation, determinism, precision."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny

from patchtrain.engine import Engine, LossNotFinite
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.exceeded import BudgetExceeded

METHODS = ["local_global", "patchgd", "downsampled", "full"]


def train(config, batches=2, seed=0):
    engine, guard = build_engine(config)
    with guard:
        losses = [
            engine.train_batch(random_batch(config, seed=number), generator(seed))
            for number in range(batches)
        ]
        engine.finish_epoch()
        engine.predict(random_batch(config))
    return engine, guard, losses


@pytest.mark.parametrize("method", METHODS)
def test_two_equal_seeds_give_equal_weights_and_peaks(method):
    one, guard, losses = train(tiny(method=method))
    other, other_guard, other_losses = train(tiny(method=method))
    assert losses == other_losses
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert guard.peak() == other_guard.peak()


def test_another_seed_gives_other_weights():
    one, _, _ = train(tiny())
    other, _, _ = train(tiny(seed=1))
    assert not torch.equal(next(one.network.parameters()), next(other.network.parameters()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_budget_of_the_peak_passes_and_one_block_less_does_not(method, precision):
    config = tiny(method=method, precision=precision)
    _, guard, losses = train(config)
    peak_bytes = guard.peak().allocated_bytes
    _, capped, capped_losses = train(tiny(method=method, precision=precision, budget=peak_bytes))
    assert capped_losses == losses
    assert capped.peak() == guard.peak()
    with pytest.raises(BudgetExceeded) as caught:
        train(tiny(method=method, precision=precision, budget=peak_bytes - 512))
    assert caught.value.needed_bytes >= peak_bytes


def test_the_budget_holds_in_validation_too():
    config = tiny()
    engine, guard = build_engine(config)
    with guard:
        engine.train_batch(random_batch(config), generator())
        engine.finish_epoch()
        guard._meter.limit_bytes = guard.live_bytes + 512
        with pytest.raises(BudgetExceeded, match="in validation"):
            engine.predict(random_batch(config))


def test_a_budget_below_the_parameters_ends_while_building():
    with pytest.raises(BudgetExceeded, match="in setup"):
        build_engine(tiny(budget=100_000))


def test_the_peak_is_made_of_its_parts():
    engine, guard, _ = train(tiny(method="local_global"))
    parts = guard.peak().by_category
    assert sum(parts.values()) == guard.peak().allocated_bytes
    network_bytes = 4 * engine.num_parameters
    assert parts["parameters"] >= network_bytes
    assert 2 * network_bytes <= parts["optimizer"] < 2.5 * network_bytes
    assert min(parts["activations"], parts["latent"], parts["input"]) > 0


def test_memory_grows_with_the_sampling_rate_and_not_with_the_iterations():
    def peak(**changes):
        return train(tiny(**changes))[1].peak().allocated_bytes

    assert peak(sampling_rate=0.2) < peak(sampling_rate=0.5) < peak(sampling_rate=1.0)
    assert peak(inner_iterations=2) == peak(inner_iterations=5)


def test_patches_need_less_memory_than_the_full_image():
    def peak(method):
        return train(tiny(method=method, image_size=256))[1].peak().allocated_bytes

    assert peak("downsampled") < peak("local_global") < peak("full")


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 6), (2, 3), (4, 2), (100, 1)])
def test_an_optimizer_step_for_each_group_of_inner_iterations(accumulation, steps):
    config = tiny(inner_iterations=3, accumulation_steps=accumulation)
    engine, _, _ = train(config, batches=2)
    assert engine.steps_done == steps
    assert engine._num_steps == 2 * math.ceil(6 / accumulation)


def test_accumulated_gradients_are_means():
    """Accumulating two equal iterations gives exactly the step of one."""

    def weight_after(accumulation_steps):
        config = tiny(method="downsampled", accumulation_steps=accumulation_steps, norm="group")
        engine, guard = build_engine(config, batches_per_epoch=accumulation_steps, epochs=1)
        with guard:
            for _ in range(accumulation_steps):
                engine.train_batch(random_batch(config), generator())
        assert engine.steps_done == 1
        return next(engine.network.parameters()).detach()

    torch.testing.assert_close(weight_after(1), weight_after(2), rtol=0, atol=1e-6)


def test_the_loss_falls_on_one_batch():
    config = tiny(inner_iterations=3)
    engine, guard = build_engine(config, batches_per_epoch=12, epochs=1)
    batch = random_batch(config)
    with guard:
        losses = [engine.train_batch(batch, generator(n)) for n in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_loss_that_is_not_finite_ends_with_field_and_remedy():
    config = tiny()
    engine, guard = build_engine(config)
    with torch.no_grad():
        next(engine.network.parameters()).fill_(float("nan"))
    with guard, pytest.raises(LossNotFinite, match=r"lower learning_rate=0\.001"):
        engine.train_batch(random_batch(config), generator())


def test_the_fill_leaves_running_statistics_and_mode_alone():
    config = tiny()
    engine, guard = build_engine(config)
    before = [b.clone() for b in engine.network.backbone.buffers()]
    with guard:
        engine._method.start(random_batch(config))
    assert all(
        torch.equal(a, b) for a, b in zip(before, engine.network.backbone.buffers(), strict=True)
    )
    assert engine.network.backbone.training


def test_predictions_do_not_depend_on_the_batch():
    config = tiny(batch_size=4)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        together = engine.predict(batch)
        alone = engine.predict(type(batch)(batch.images[:1], batch.targets[:1]))
    torch.testing.assert_close(torch.tensor(together[:1]), torch.tensor(alone))


def test_bf16_halves_the_latent_block():
    latent = {
        precision: train(tiny(precision=precision, batch_size=4))[1].peak().by_category["latent"]
        for precision in ("fp32", "bf16")
    }
    assert latent["bf16"] < latent["fp32"]


def test_a_resumed_engine_continues_as_if_never_stopped():
    config = tiny()
    straight, guard, _ = train(config, batches=4)

    first, first_guard = build_engine(config)
    with first_guard:
        for number in range(2):
            first.train_batch(random_batch(config, seed=number), generator())
    weights = {name: value.clone() for name, value in first.network.state_dict().items()}

    second, second_guard = build_engine(config)
    with second_guard:
        second.load_state(weights, first.state())
        for number in range(2, 4):
            second.train_batch(random_batch(config, seed=number), generator())
    for a, b in zip(straight.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert second_guard.peak() == guard.peak()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_step_on_cuda_stays_within_its_budget(method):
    config = tiny(method=method, device="cuda", budget=2 * 10**9)
    from patchtrain.memory.guards import guard_for

    guard: MemoryGuard = guard_for(torch.device("cuda"), config.budget)
    with guard:
        engine = Engine(config, 3, guard, batches_per_epoch=1, epochs=1)
        engine.train_batch(random_batch(config), generator())
        engine.predict(random_batch(config))
    assert 0 < guard.peak().allocated_bytes <= config.budget
    guard.release()


def test_what_heads_draw_depends_on_the_generator_alone():
    """Not on what drew before, as a library does when it is first imported."""
    config = tiny(drop_rate=0.4, aggregator="same")

    def loss(before: int, seed: int = 0) -> float:
        engine, guard = build_engine(config)
        torch.manual_seed(before)
        with guard:
            return engine.train_batch(random_batch(config), generator(seed))

    assert loss(before=1) == loss(before=2)
    assert loss(before=1) != loss(before=1, seed=1)
