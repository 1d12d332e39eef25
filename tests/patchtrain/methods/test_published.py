"""The authors' code: what trains in it, and with which gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny, tiny_boxes, tiny_masks
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.estimation.predict import estimate
from patchtrain.step.batch import HostBatch
from patchtrain.tasks.detection.scrambled import ScrambledHead
from patchtrain.testing.rules import check_chunks_change_no_gradient, check_estimate_exact
from patchtrain.testing.trials import relative_error


def changed(config: TrialConfig) -> tuple[int, int, int]:
    """Return how many tensors of the backbone and of the head a batch changes, of how many."""
    engine, guard = build_engine(config)
    with guard:
        before = {name: value.clone() for name, value in engine.network.named_parameters()}
        engine.train_batch(random_batch(config), generator())
    differ = {
        name for name, value in engine.network.named_parameters()
        if not torch.equal(before[name], value)
    }  # fmt: skip
    of_backbone = {name for name in before if name.startswith("backbone.")}
    return len(differ & of_backbone), len(of_backbone), len(differ - of_backbone)


def test_their_baseline_trains_no_backbone():
    of_backbone, num, of_head = changed(tiny(method="published_patchgd", learning_rate=0.01))
    assert of_backbone == 0 < num
    assert of_head > 0


def test_their_method_trains_its_backbone_through_g():
    of_backbone, num, of_head = changed(tiny(method="published", learning_rate=0.01))
    assert of_backbone == num
    assert of_head > 0


@pytest.mark.parametrize("method", ["published", "published_patchgd"])
def test_in_segmentation_both_train(method):
    of_backbone, num, _ = changed(tiny_masks(method=method, learning_rate=0.01))
    assert of_backbone > num / 2


def test_in_detection_the_head_alone_trains():
    of_backbone, num, of_head = changed(tiny_boxes(method="published", learning_rate=0.01))
    assert of_backbone == 0 < num
    assert of_head > 0


def test_their_baseline_does_not_exist_in_detection():
    with pytest.raises(ConfigError, match="use method=patchgd or published"):
        tiny_boxes(method="published_patchgd")


def test_in_detection_maps_are_read_as_they_lie_in_memory():
    """Written out as in their code, for one level of 2 x 2 cells."""
    torch.manual_seed(0)
    head = ScrambledHead("fcos", 64, 3, sides=(2,), num_maps=5)
    features = torch.randn(5, 4, 64)
    maps = features.permute(0, 2, 1).reshape(5, 64, 2, 2)
    mix = head.mixing[0]
    mixed = torch.reshape(maps, (2, 2, 64 * 5))
    mixed = torch.nn.MaxPool1d(5)(mix(mix(mixed)))
    expected = torch.reshape(mixed, (64, 2, 2))
    found = head.mixed(features)[0].T.reshape(64, 2, 2)
    assert torch.equal(found, expected)
    assert not list(mix.parameters())


def test_in_detection_centerness_is_not_learned():
    config = tiny_boxes(method="published")
    engine, guard = build_engine(config)
    with guard:
        engine._method.start(random_batch(config))
        engine._method.backward(generator())
    head = engine.network.head.objects.regression_head
    assert head.bbox_ctrness.weight.grad is None
    assert head.bbox_reg.weight.grad is not None


def test_in_detection_the_global_patch_runs_with_the_fill():
    """In training mode, among the patches of its image; the same for every inner iteration."""
    config = tiny_boxes(method="published", norm="group", inner_iterations=2)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        first = engine._method.backward(generator())
        whole = engine._method._filled_global.clone()
        assert torch.equal(engine._method.backward(generator()), first)
        alone = engine._method._global_features(batch)
    assert relative_error([whole], [alone]) < 1e-5


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_the_gradient_is_that_of_their_loss_written_out(fusion):
    config = tiny(
        method="published", norm="frozen", sampling_rate=0.2, fusion=fusion, aggregator="attention"
    )
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        loss = engine._method.backward(generator())
    ours = _gradients(engine.network)

    drawn = generator()
    torch.randint(2**62, (), generator=drawn)  # the seed of the fill
    network, feeder, grid = engine.network, engine._feeder, engine._method._grid
    everything = np.arange(grid.num_patches)
    with torch.no_grad():
        cells = torch.stack(
            [network.backbone(feeder.pixels(grid.extract(i, everything))) for i in batch.images]
        )
    total = torch.zeros(())
    for number, image in enumerate(batch.images):
        positions = engine._method._sample(1, drawn)[0]
        torch.randint(2**62, (), generator=drawn)  # the seed of the pass
        whole = feeder.pixels(batch.resized(config.patch_size)[number : number + 1])
        features = network.backbone(feeder.pixels(grid.extract(image, positions)) + whole)
        cells = cells.clone()
        cells[number, positions] = features.detach()
        joint = cells.unflatten(1, (grid.num_rows, -1)).permute(0, 3, 1, 2)
        g = features[-1].reshape(1, -1, 1, 1).expand_as(joint)
        joint = joint + g if fusion == "add" else torch.cat([joint, g], dim=1)
        scores = network.head(joint)
        total = total + engine.task.loss(scores, feeder.targets(batch.targets)) / len(batch)
    total.backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert relative_error(ours, _gradients(network)) < 1e-5


def test_in_segmentation_each_iteration_begins_from_the_fill():
    config = tiny_masks(method="published", norm="group")
    engine, guard = build_engine(config)
    drawn = generator()
    with guard:
        engine._method.start(random_batch(config))
        engine._method.backward(drawn)
        before = engine._method._latent.of_image(0).clone()
        assert not engine._method._filled_global.requires_grad
        engine._method.backward(drawn)
        assert torch.equal(engine._method._latent.of_image(0), before)


def test_the_fill_takes_the_statistics_of_an_images_patches():
    """So another image in the batch changes nothing, and another patch does."""
    config = tiny_masks(method="published_patchgd", batch_size=2)
    batch = random_batch(config)

    def first_cell(*images: np.ndarray) -> Tensor:
        engine, guard = build_engine(config)
        with guard:
            engine._method.start(HostBatch(list(images), batch.targets))
            engine._method.backward(generator())
            return engine._method._latent.of_image(0)[0].clone()

    one, other = batch.images
    changed_patch = one.copy()
    changed_patch[-32:, -32:] = 255
    assert torch.equal(first_cell(one, other), first_cell(one, 255 - other))
    assert not torch.allclose(first_cell(one, other), first_cell(changed_patch, other))


@pytest.mark.parametrize("method", ["published", "published_patchgd"])
@pytest.mark.parametrize("make", [tiny, tiny_masks, tiny_boxes])
@pytest.mark.parametrize(
    "settings",
    [{}, {"patch_microbatch": 1, "norm": "group", "precision": "bf16", "inner_iterations": 3}],
    ids=["plain", "chunks"],
)
def test_peaks_are_predicted(method, make, settings):
    if (method, make) == ("published_patchgd", tiny_boxes):
        pytest.skip("their code has no PatchGD for detection")
    check_estimate_exact(make(method=method, **settings))


def test_chunks_change_no_gradient():
    check_chunks_change_no_gradient(tiny(method="published", norm="group"))
    check_chunks_change_no_gradient(tiny_masks(method="published", norm="frozen"))


def test_without_a_backbone_to_train_less_is_held():
    held = [
        estimate(tiny(method=method)).predicted_peak_bytes
        for method in ("published_patchgd", "patchgd")
    ]
    assert held[0] < held[1]


def _gradients(network) -> list[Tensor]:
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()
    ]
    network.zero_grad()
    return found
