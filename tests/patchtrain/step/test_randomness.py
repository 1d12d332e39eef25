"""Dropout that does not depend on which inputs run together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import generator
from segmentation_models_pytorch.encoders._efficientnet import drop_connect
from timm.layers import DropPath
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from patchtrain.step.randomness import PerInputRandomness, draw_seed, unseen

CPU = torch.device("cpu")
NUM = 6
SEED = 7


def in_chunks(
    draw: Callable[[Tensor], Tensor], pixels: Tensor, size: int, seed: int = SEED
) -> Tensor:
    """`draw` of `pixels` [NUM, ...], `size` inputs at a time."""
    parts = []
    for start in range(0, NUM, size):
        numbers = range(start, min(start + size, NUM))
        with PerInputRandomness(seed, numbers, CPU) as randomness:
            parts.append(draw(pixels[numbers.start : numbers.stop]))
        assert randomness.was_needed
    return torch.cat(parts)


def windows(pixels: Tensor) -> Tensor:
    """Dropout of 4 windows an image [4N, ...], as in networks that attend within windows."""
    apart = pixels.unflatten(3, (4, 2)).permute(0, 3, 1, 2, 4).contiguous().flatten(0, 1)
    dropped = nn.Dropout(0.5)(apart)
    return dropped.unflatten(0, (-1, 4)).permute(0, 2, 3, 1, 4).flatten(3)


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": nn.Dropout(0.5),
    "dropout2d": nn.Dropout2d(0.5),
    "alpha_dropout": nn.AlphaDropout(0.5),
    "drop_path": DropPath(0.5),
    "two_in_a_row": nn.Sequential(nn.Dropout(0.3), nn.Dropout2d(0.3)),
    "windows": windows,
    "uniform": lambda pixels: torch.empty_like(pixels).uniform_(),
    "normal": lambda pixels: torch.empty_like(pixels).normal_(2, 3),
    "new_uniform": lambda pixels: torch.rand([len(pixels), 1, 1, 1]) + 0 * pixels.float(),
    "new_normal": lambda pixels: torch.randn(len(pixels), 5, 1, 1) + 0 * pixels.float(),
    "uniform_like": torch.rand_like,
    "normal_like": torch.randn_like,
    "chances": lambda pixels: torch.bernoulli(pixels / 2),
    "chance": lambda pixels: torch.bernoulli(pixels, 0.5),
    "chances_in_place": lambda pixels: torch.empty_like(pixels).bernoulli_(pixels / 2),
    "functional_chances": lambda pixels: pixels.div(2).bernoulli(),
    "drop_connect": lambda pixels: drop_connect(pixels.float(), 0.5, True),
    "fused_kernel": lambda pixels: torch.ops.aten.native_dropout(pixels, 0.5, True)[0],
    "fused_kernel_mask": lambda pixels: torch.ops.aten.native_dropout(pixels, 0.5, True)[1],
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_draw_what_the_whole_pass_draws(name, dtype):
    pixels = torch.ones(NUM, 5, 4, 8, dtype=dtype)
    whole = in_chunks(DRAWS[name], pixels, NUM)
    assert whole.shape == pixels.shape
    assert whole.unique().numel() > 1
    for size in (1, 2, 4, 5):
        assert torch.equal(in_chunks(DRAWS[name], pixels, size), whole)


@pytest.mark.parametrize("name", DRAWS)
def test_other_seeds_inputs_and_operations_draw_other_numbers(name):
    pixels = torch.ones(NUM, 5, 4, 8)
    whole = in_chunks(DRAWS[name], pixels, NUM)
    assert torch.equal(in_chunks(DRAWS[name], pixels, NUM), whole)
    assert not torch.equal(in_chunks(DRAWS[name], pixels, NUM, seed=SEED + 1), whole)
    assert any(not torch.equal(whole[0], other) for other in whole[1:])
    with PerInputRandomness(SEED, range(NUM), CPU):
        first, second = (DRAWS[name](pixels) for _ in range(2))
    assert torch.equal(first, whole)
    assert not torch.equal(second, first)


def test_inputs_are_known_by_their_numbers_and_not_by_their_places():
    pixels = torch.ones(NUM, 50)
    whole = in_chunks(nn.Dropout(0.5), pixels, NUM)
    with PerInputRandomness(SEED, [4, 1], CPU):
        picked = nn.Dropout(0.5)(pixels[:2])
    assert torch.equal(picked, whole[[4, 1]])


def test_draws_do_not_depend_on_how_the_inputs_lie_in_memory():
    """A chunk of one input may have another memory layout than the same input among others."""
    pixels = torch.ones(NUM, 5, 4, 8)
    whole = in_chunks(nn.Dropout(0.5), pixels, NUM)
    together = pixels.contiguous(memory_format=torch.channels_last)
    assert torch.equal(in_chunks(nn.Dropout(0.5), together, NUM), whole)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["module", "fused_kernel"])
def test_as_many_are_kept_as_asked_and_scaled_for_it(rate, name):
    pixels = torch.full((NUM, 100, 100), 3.0)
    with PerInputRandomness(SEED, range(NUM), CPU):
        if name == "module":
            dropped = nn.Dropout(rate)(pixels)
        else:
            dropped, mask = torch.ops.aten.native_dropout(pixels, rate, True)
            assert torch.equal(dropped != 0, mask)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.01)
    assert kept.flatten(1).float().mean(1).sub(1 - rate).abs().max() < 0.03
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 3 / (1 - rate)))


@pytest.mark.parametrize(
    ("rate", "train"), [(1.0, True), (0.0, True), (0.5, False), (1.0, False), (0.0, False)]
)
def test_the_fused_kernel_without_chance_gives_what_torch_gives(rate, train):
    pixels = torch.randn(NUM, 3, generator=generator())
    expected = torch.ops.aten.native_dropout(pixels, rate, train)
    with PerInputRandomness(SEED, range(NUM), CPU):
        found = torch.ops.aten.native_dropout(pixels, rate, train)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_the_fused_kernel_passes_gradients_through_what_it_kept():
    pixels = torch.ones(NUM, 20, requires_grad=True)
    with PerInputRandomness(SEED, range(NUM), CPU):
        dropped, mask = torch.ops.aten.native_dropout(pixels, 0.5, True)
    dropped.sum().backward()
    assert torch.equal(pixels.grad, 2.0 * mask)


@pytest.mark.parametrize("shape", [(7, 3), (3, 5), ()])
def test_other_shapes_are_drawn_from_the_seed_of_the_pass(shape):
    def drawn(seed: int) -> Tensor:
        with PerInputRandomness(seed, range(NUM), CPU):
            return torch.empty(shape).uniform_()

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_a_generator_of_ones_own_is_left_alone():
    expected = torch.empty(NUM, 3).uniform_(generator=generator(5))
    with PerInputRandomness(SEED, range(NUM), CPU) as randomness:
        found = torch.empty(NUM, 3).uniform_(generator=generator(5))
    assert randomness.was_needed
    assert torch.equal(found, expected)


def test_the_global_random_state_is_put_back():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with PerInputRandomness(SEED, range(NUM), CPU):
        nn.Dropout(0.5)(torch.ones(NUM, 4))
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyError), PerInputRandomness(SEED, range(NUM), CPU):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_do_not_depend_on_the_global_random_state():
    pixels = torch.ones(NUM, 30)
    masks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        masks.append(in_chunks(nn.Dropout(0.5), pixels, NUM))
    assert torch.equal(*masks)


def test_it_was_not_needed_if_nothing_is_drawn():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), DropPath(0.5))
    with PerInputRandomness(SEED, range(NUM), CPU) as randomness:
        net.eval()(torch.ones(NUM, 3, 2, 2))
    assert not randomness.was_needed
    with PerInputRandomness(SEED, range(NUM), CPU) as randomness:
        net.train()(torch.ones(NUM, 3, 2, 2))
    assert randomness.was_needed


def test_seeds_are_drawn_from_the_generator_also_for_tensors_without_content():
    draws = generator(1)
    expected = [draw_seed(draws) for _ in range(3)]
    assert len(set(expected)) == 3
    again = generator(1)
    with FakeTensorMode():
        assert [draw_seed(again) for _ in range(3)] == expected
    assert draw_seed(generator(2)) != expected[0]


def test_unseen_operations_are_real_and_not_dispatched():
    with PerInputRandomness(SEED, range(NUM), CPU) as randomness, FakeTensorMode():
        with unseen():
            real = torch.empty(NUM).uniform_()
        assert type(real) is Tensor
    assert not randomness.was_needed


def test_tensors_without_content_can_be_drawn():
    with FakeTensorMode() as mode:
        pixels = torch.empty(NUM, 3, 4, 4)
        with PerInputRandomness(SEED, range(NUM), CPU) as randomness:
            dropped = nn.Dropout(0.5)(pixels)
        assert dropped.fake_mode is mode
    assert randomness.was_needed
    assert dropped.shape == pixels.shape
