"""The gradient path through the latent block, against one big graph over all patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny
from torch import Tensor, nn

from patchtrain.config import TrialConfig
from patchtrain.engine import Engine
from patchtrain.grid.latent import LatentBlock
from patchtrain.grid.patches import PatchGrid
from patchtrain.step.batch import HostBatch
from patchtrain.testing.trials import relative_error

AGGREGATORS = ["same", "small_cnn", "attention"]


def gradients(network: nn.Module) -> list[Tensor]:
    found = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    assert found, "no gradient reached the network"
    network.zero_grad()
    return found


def patch_method_gradients(engine: Engine, batch: HostBatch) -> None:
    """One inner iteration with evaluation-mode norms, up to the gradients."""
    engine.network.eval()
    engine._method.start(batch)
    engine._method.backward(generator())


def one_graph_loss(engine: Engine, config: TrialConfig, batch: HostBatch) -> Tensor:
    """The same loss from every patch in one graph, written out without the latent block."""
    grid = PatchGrid(config.image_size, config.image_size, config.patch_size)
    everything = np.arange(grid.num_patches)
    network, feeder = engine.network, engine._feeder
    maps = []
    for image in batch.images:
        features = network.backbone(feeder.pixels(grid.extract(image, everything)))
        maps.append(features.T.reshape(-1, grid.num_rows, grid.num_cols))
    joint = torch.stack(maps)
    if config.method == "local_global":
        thumbnails = feeder.pixels(batch.resized(config.patch_size))
        with torch.set_grad_enabled(config.global_pass == "joint"):
            whole = network.backbone(thumbnails)[:, :, None, None].expand_as(joint)
        if config.fusion_scale != "none":
            whole = whole * network.fusion.scale.reshape(-1, 1, 1)
        joint = joint + whole if config.fusion == "add" else torch.cat([joint, whole], dim=1)
    return engine.task.loss(network.head(joint), feeder.targets(batch.targets))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": "add"},
        {"fusion": "concat"},
        {"fusion": "add", "fusion_scale": 0.5},
        {"fusion": "concat", "fusion_scale": 0.5, "global_pass": "filled"},
        {"fusion": "add", "global_pass": "filled"},
        {"method": "patchgd"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_sampling_every_patch_gives_the_gradient_of_one_big_graph(settings, aggregator):
    config = tiny(sampling_rate=1.0, aggregator=aggregator, **settings)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        patch_method_gradients(engine, batch)
    ours = gradients(engine.network)

    one_graph_loss(engine, config, batch).backward()

    assert relative_error(ours, gradients(engine.network)) < 1e-5


def test_the_comparison_finds_sampled_features_that_are_detached(monkeypatch):
    config = tiny(sampling_rate=1.0, global_pass="joint")
    engine, guard = build_engine(config)
    batch = random_batch(config)
    whole = LatentBlock.replace
    monkeypatch.setattr(
        LatentBlock, "replace", lambda self, cells, new: whole(self, cells, new.detach())
    )
    with guard:
        patch_method_gradients(engine, batch)
    ours = gradients(engine.network)

    one_graph_loss(engine, config, batch).backward()

    assert relative_error(ours, gradients(engine.network)) > 1e-2


@pytest.mark.parametrize("method", ["local_global", "patchgd"])
def test_only_sampled_patches_get_gradient(method):
    config = tiny(method=method, sampling_rate=0.2)
    engine, guard = build_engine(config)
    engine.network.eval()
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        positions = engine._method._sample(len(batch), generator(5))
        features = engine._method._latent._features.requires_grad_()
        engine._method._latent.detach = lambda: None  # keep Z as the leaf that gradient reaches
        engine._method._latent._features = features.clone()
        engine._method.backward(generator(5))

    stale = features.grad.abs().sum(dim=2) > 0  # of rows that were not replaced
    expected = torch.ones_like(stale)
    for image, cells in enumerate(positions):
        expected[image, cells] = False
    # rows that were not sampled kept their old values, and only they have this gradient
    assert torch.equal(stale, expected)
    first_weight = next(engine.network.backbone.parameters())
    assert first_weight.grad.abs().sum() > 0


def test_pixels_of_unsampled_patches_do_not_change_the_backbones_gradient_path(monkeypatch):
    """With Z frozen, changing an unsampled patch changes nothing; changing a sampled one does."""
    config = tiny(method="patchgd", sampling_rate=0.1, inner_iterations=1, batch_size=1)
    engine, guard = build_engine(config)
    engine.network.eval()
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        filled = engine._method._latent._features.clone()
        (position,) = engine._method._sample(1, generator(3))[0]

        def gradient_after(cell: int) -> list[Tensor]:
            changed = batch.images[0].copy()
            row, col = divmod(cell, 4)
            changed[32 * row : 32 * row + 32, 32 * col : 32 * col + 32] = 255
            engine._method._batch = HostBatch([changed], batch.targets)
            engine._method._latent._features = filled.clone()
            engine._method.backward(generator(3))
            return gradients(engine.network.backbone)

        other = (position + 1) % 16
        unchanged = gradient_after((position + 2) % 16)
        assert relative_error(gradient_after(other), unchanged) == 0
        assert relative_error(gradient_after(position), unchanged) > 1e-3


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_training_and_validation_read_the_same_scores_in_evaluation_mode(aggregator):
    config = tiny(aggregator=aggregator, sampling_rate=0.3)
    engine, guard = build_engine(config)
    engine.network.eval()
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        loss = engine._method.backward(generator())
        scores = engine._method.predict(batch)
        again = engine.task.loss(torch.from_numpy(scores), torch.tensor(batch.targets))
    torch.testing.assert_close(loss, again, rtol=1e-5, atol=1e-6)
