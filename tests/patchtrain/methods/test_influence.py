"""What the global patch does to training: its share of the backbone's gradient, and its size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny, tiny_boxes, tiny_masks
from torch import nn

from patchtrain.engine import Engine
from patchtrain.step.batch import HostBatch

FORMS = {"classification": tiny, "segmentation": tiny_masks, "detection": tiny_boxes}


def unscaled(loss):
    return loss


def influence(config, batch, seed=0):
    engine, guard = build_engine(config)
    with guard:
        engine._method.start(batch)
        return engine._method.influence(generator(seed), unscaled), engine


def backbone_gradient_norm(engine: Engine, batch: HostBatch, detached: str, seed: int = 0) -> float:
    """The norm of the gradient that reaches the backbone if one of the two kinds of features is
    detached, written out.
    """
    method, network = engine._method, engine.network
    positions = method._sample(1, generator(seed))[0]
    grid, feeder = method._grid, engine._feeder
    (image,) = batch.images
    local = network.backbone(feeder.pixels(grid.extract(image, positions)))
    whole = network.backbone(feeder.pixels(batch.resized(grid.patch_size)))
    local, whole = (local.detach(), whole) if detached == "local" else (local, whole.detach())
    with torch.no_grad():
        everything = grid.extract(image, range(grid.num_patches))
        cells = network.backbone(feeder.pixels(everything)).clone()
    cells = cells.index_put((torch.from_numpy(positions),), local)
    joint = cells.T.reshape(1, -1, grid.num_rows, grid.num_cols) + whole[:, :, None, None]
    engine.task.loss(network.head(joint), feeder.targets(batch.targets)).backward()
    norm = nn.utils.get_total_norm([p.grad for p in network.backbone.parameters()])
    network.zero_grad()
    return norm.item()


@pytest.mark.parametrize("microbatch", ["none", 2])
def test_the_share_is_that_of_the_gradient_with_the_rest_detached(microbatch):
    config = tiny(
        batch_size=1, norm="frozen", sampling_rate=0.3, patch_microbatch=microbatch,
        aggregator="attention", global_pass="joint", fusion="add",
    )  # fmt: skip
    batch = random_batch(config)
    found, engine = influence(config, batch)
    ours = backbone_gradient_norm(engine, batch, "local")
    rest = backbone_gradient_norm(engine, batch, "global")
    assert 0 < found.gradient_share < 1
    assert found.gradient_share == pytest.approx(ours / (ours + rest), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_size_is_that_of_g_beside_z(form):
    config = FORMS[form](norm="frozen", global_pass="filled")
    found, engine = influence(config, random_batch(config))
    whole = engine._method._filled_global[0]
    cells = engine._method._latent.of_image(0)
    expected = whole.square().mean().sqrt() / cells.square().mean().sqrt()
    assert found.size == pytest.approx(expected.item(), rel=1e-5)
    assert found.gradient_share == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("global_pass", ["joint", "filled"])
def test_a_scale_scales_the_size(form, global_pass):
    settings = {"norm": "frozen", "global_pass": global_pass}
    config = FORMS[form](**settings)
    plain, _ = influence(config, random_batch(config))
    config = FORMS[form](**settings, fusion_scale=0.5)
    halved, _ = influence(config, random_batch(config))
    assert halved.size == pytest.approx(plain.size / 2, rel=1e-4)
    config = FORMS[form](**settings, fusion_scale=0)
    nothing, _ = influence(config, random_batch(config))
    assert nothing.size == 0
    assert nothing.gradient_share == 0


def test_methods_without_a_global_patch_have_none():
    for method in ("patchgd", "downsampled"):
        config = tiny(method=method)
        assert influence(config, random_batch(config))[0] is None


def trained(config, *, watched: bool) -> tuple[Any, ...]:
    engine, guard = build_engine(config)
    drawn = generator()
    with guard:
        losses = [
            engine.train_batch(random_batch(config, seed=seed), drawn, watched=watched)
            for seed in range(2)
        ]
        state = {name: value.clone() for name, value in engine.network.state_dict().items()}
        peak = guard.peak()
    return losses, state, drawn.get_state(), peak, engine.influence


CASES = {
    "the default": tiny(),
    "dropout and an aggregator with batch norm": tiny(drop_rate=0.4, aggregator="same"),
    "chunks": tiny(patch_microbatch=1, norm="group", drop_rate=0.3),
    "many patches of one image, small head": tiny(
        batch_size=1, image_size=256, sampling_rate=1.0, aggregator="attention"
    ),
    "fp16": tiny(precision="fp16", fusion="concat", fusion_scale=0),
    "filled": tiny(global_pass="filled", precision="bf16"),
    "accumulation": tiny(inner_iterations=2, accumulation_steps=2, norm="frozen"),
    "one image of masks": tiny_masks(batch_size=1, global_pass="joint"),
    "masks in chunks": tiny_masks(global_pass="joint", norm="group", patch_microbatch=1),
    "boxes": tiny_boxes(norm="group"),
    "one image of boxes": tiny_boxes(batch_size=1, layout="stack"),
}


@pytest.mark.parametrize("name", CASES)
def test_looking_changes_neither_training_nor_the_peak(name):
    losses, state, drawn, peak, found = trained(CASES[name], watched=True)
    assert found is not None and found.size is not None
    losses_alone, state_alone, drawn_alone, peak_alone, _ = trained(CASES[name], watched=False)
    assert losses == losses_alone
    assert torch.equal(drawn, drawn_alone)
    assert all(torch.equal(state[key], state_alone[key]) for key in state)
    assert peak == peak_alone
