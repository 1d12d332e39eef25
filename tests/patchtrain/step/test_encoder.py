"""Chunks through the backbone: the gradient, the statistics and the dropout of one pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.step.encoder import Chunk, chunk_size, chunks_of

METHODS = [
    ("local_global", "add"),
    ("local_global", "concat"),
    ("patchgd", "add"),
    ("downsampled", "add"),
    ("full", "add"),
    ("checkpointed", "add"),
]


@dataclass(frozen=True)
class Step:
    """What one inner iteration leaves behind."""

    loss: float
    gradient: Tensor
    buffers: Tensor
    peak_bytes: int


def step(config: TrialConfig) -> Step:
    engine, guard = build_engine(config)
    with guard:
        engine._method.start(random_batch(config))
        guard.start_peak()
        loss = engine._method.backward(generator())
    found = [p.grad.flatten() for p in engine.network.parameters() if p.grad is not None]
    assert len(found) == len(list(engine.network.parameters()))
    buffers = [b.flatten().float() for b in engine.network.buffers()]
    return Step(
        float(loss),
        torch.cat(found),
        torch.cat(buffers) if buffers else torch.empty(0),
        guard.peak().allocated_bytes,
    )


def relative_error(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


SMALL = tiny(batch_size=3, image_size=64, patch_size=32, sampling_rate=0.5)


@pytest.mark.parametrize(("method", "fusion"), METHODS)
@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("drop_rate", [0.0, 0.5])
def test_chunks_give_the_gradient_and_statistics_of_one_pass(method, fusion, norm, drop_rate):
    config = replace(SMALL, method=method, fusion=fusion, norm=norm, drop_rate=drop_rate)
    whole = step(config)
    for microbatch in (1, 3, 1000):
        chunked = step(replace(config, patch_microbatch=microbatch))
        assert chunked.loss == pytest.approx(whole.loss, rel=1e-5)
        assert relative_error(chunked.gradient, whole.gradient) < 1e-5
        torch.testing.assert_close(chunked.buffers, whole.buffers, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", ["test_convnext", "test_vit", "test_efficientnet"])
def test_other_families_of_networks_have_the_same_gradient(backbone):
    config = replace(SMALL, backbone=backbone, drop_rate=0.3)
    if backbone == "test_vit":
        config = replace(config, image_size=320, patch_size=160)
    whole, chunked = step(config), step(replace(config, patch_microbatch=2))
    assert relative_error(chunked.gradient, whole.gradient) < 1e-5
    assert chunked.peak_bytes < whole.peak_bytes


def test_dropout_is_on_and_differs_from_iteration_to_iteration():
    config = replace(SMALL, norm="group", drop_rate=0.5)
    engine, guard = build_engine(config)
    draws = generator()
    with guard:
        engine._method.start(random_batch(config))
        one, other = (float(engine._method.backward(draws)) for _ in range(2))
    assert one != step(replace(config, drop_rate=0.0)).loss
    assert one != other


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_stays_close(precision):
    config = replace(SMALL, norm="group", precision=precision)
    whole, chunked = step(config), step(replace(config, patch_microbatch=1))
    assert relative_error(chunked.gradient, whole.gradient) < 0.02


def test_an_images_features_depend_on_no_other_image():
    """Batch norm takes its statistics over one image's patches."""
    config = replace(SMALL, method="patchgd", batch_size=2)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    alone = type(batch)(batch.images[:1], batch.targets[:1])
    features = []
    with guard:
        for images in (batch, alone):
            engine._method.start(images)
            features.append(engine._method._encode(generator())[0].features[: config.num_sampled])
    torch.testing.assert_close(features[0], features[1])


def test_a_smaller_chunk_holds_less():
    config = replace(SMALL, norm="group", image_size=128, sampling_rate=1.0)
    peaks = [step(replace(config, patch_microbatch=n)).peak_bytes for n in (1, 8, 24, 1000)]
    assert peaks == sorted(peaks)
    assert len(set(peaks)) == len(peaks)


def test_a_smaller_last_batch_never_holds_more():
    """Three of four images would fit into one chunk; in one pass they would hold more."""
    config = replace(
        tiny(image_size=512, sampling_rate=0.02, batch_size=4),
        aggregator="test_convnext",
        norm="group",
    )
    config = replace(config, patch_microbatch=3 * config.inputs_per_image)
    peaks = []
    for num_images in (4, 3):
        engine, guard = build_engine(config)
        with guard:
            engine.train_batch(random_batch(config, num_images=num_images), generator())
            guard.start_peak()
            engine.train_batch(random_batch(config, num_images=num_images), generator())
        peaks.append(guard.peak().allocated_bytes)
    assert peaks[1] < peaks[0]


def test_the_first_chunk_may_be_smaller():
    assert chunks_of(7, 3) == [Chunk(0, 1), Chunk(1, 4), Chunk(4, 7)]
    assert chunks_of(6, 3) == [Chunk(0, 3), Chunk(3, 6)]
    assert chunks_of(2, 5) == [Chunk(0, 2)]


def test_what_is_held_grows_with_the_chunk():
    config = replace(SMALL, norm="group", backbone="resnet18")
    sizes = range(1, config.batch_size * config.inputs_per_image)
    peaks = [step(replace(config, patch_microbatch=size)).peak_bytes for size in sizes]
    assert peaks == sorted(peaks)


@pytest.mark.parametrize(
    ("wanted", "grouped", "size"),
    [(None, True, 12), (1, True, 4), (7, True, 4), (8, True, 8), (99, True, 12), (1, False, 1)],
)
def test_groups_stay_whole_where_batch_norm_needs_them(wanted, grouped, size):
    assert chunk_size(12, 4, wanted, grouped=grouped) == size


def test_running_statistics_move_once_an_iteration_however_many_images():
    config = replace(SMALL, method="patchgd", sampling_rate=1.0)
    batch = random_batch(config, num_images=1)
    buffers = []
    for num_images in (1, 3):
        engine, guard = build_engine(replace(config, batch_size=num_images))
        with guard:
            engine._method.start(type(batch)(batch.images * num_images, batch.targets * num_images))
            engine._method._encode(generator())
        buffers.append({n: b for n, b in engine.network.backbone.named_buffers() if "running" in n})
    for name, once in buffers[0].items():
        torch.testing.assert_close(buffers[1][name], once, rtol=1e-4, atol=1e-6)
