"""Maps read a piece at a time, against everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from conftest import build_engine, generator, random_batch, tiny_masks
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from patchtrain.config import TrialConfig
from patchtrain.datasets.example import Example
from patchtrain.datasets.targets.masks import IGNORED, MaskFiles, ThresholdMask
from patchtrain.engine import Engine
from patchtrain.grid.patches import PatchGrid
from patchtrain.images import unfit_square
from patchtrain.step.batch import HostBatch
from patchtrain.tasks.segmentation import reader as segmentation
from patchtrain.tasks.segmentation.metrics import Segmentation
from patchtrain.testing.trials import relative_error

COMBINATIONS = [
    {"method": "local_global", "fusion": "concat", "global_pass": "joint"},
    {"method": "local_global", "fusion": "add", "global_pass": "joint"},
    {"method": "local_global", "fusion": "add", "global_pass": "joint", "fusion_scale": 0.5},
    {"method": "local_global", "fusion": "concat", "global_pass": "filled"},
    {"method": "local_global", "fusion": "add", "global_pass": "filled", "fusion_scale": 0.5},
    {"method": "patchgd"},
    {"method": "tiled"},
    {"method": "downsampled"},
    {"method": "full"},
]
IDS = [" ".join(map(str, combination.values())) for combination in COMBINATIONS]


def gradients(network: nn.Module) -> list[Tensor]:
    found = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    return found


def sampled(engine: Engine, config: TrialConfig) -> np.ndarray | None:
    """The positions that the first inner iteration of `generator()` draws."""
    if not config.samples_patches:
        return None
    return engine._method._sample(config.batch_size, generator())


def with_ignored(batch: HostBatch) -> HostBatch:
    masks = [mask.copy() for mask in batch.targets]
    for mask in masks:
        mask[:20, 30:] = IGNORED
    return HostBatch(batch.images, masks)


def smp_loss(outputs: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Dice and cross-entropy as segmentation-models-pytorch (whose `smooth` counts twice) and torch
    have them, of one image.
    """
    if num_classes == 2:
        valid = masks != IGNORED
        dice = smp.losses.DiceLoss("binary", smooth=0.5, ignore_index=IGNORED)
        errors = functional.binary_cross_entropy_with_logits(
            outputs[:, 0][valid], (masks[valid] == 1).float()
        )
        return dice(outputs, masks[:, None]) + errors
    classes = masks.long()
    present = [c for c in range(num_classes) if (classes == c).any()]
    dice = smp.losses.DiceLoss("multiclass", classes=present, smooth=0.5, ignore_index=IGNORED)
    return dice(outputs, classes) + functional.cross_entropy(outputs, classes, ignore_index=IGNORED)


def one_graph_loss(
    engine: Engine, config: TrialConfig, batch: HostBatch, positions: np.ndarray | None
) -> Tensor:
    """The same loss with the whole image in one graph, written out with torch's own parts."""
    network, feeder = engine.network, engine._feeder
    grid = PatchGrid(config.image_size, config.image_size, config.patch_size)
    num_classes = engine.task.num_classes
    losses = []
    for number, (image, mask) in enumerate(zip(batch.images, batch.targets, strict=True)):
        target = torch.from_numpy(mask)[None]
        if config.method == "full":
            outputs = network(feeder.pixels(image[None]))
        elif config.method == "downsampled":
            outputs = network(feeder.pixels(batch.resized(config.patch_size)[number][None]))
            step = config.image_size // config.patch_size
            target = target[:, step // 2 :: step, step // 2 :: step]
        elif config.method == "tiled":
            assert positions is not None
            outputs = network(feeder.pixels(grid.extract(image, positions[number])))
            target = torch.from_numpy(grid.extract(mask[..., None], positions[number])[..., 0])
        else:
            assert positions is not None
            everything = np.arange(grid.num_patches)
            with torch.no_grad():
                cells = network.backbone(feeder.pixels(grid.extract(image, everything)))
            cells = cells.clone()
            cells[positions[number]] = network.backbone(
                feeder.pixels(grid.extract(image, positions[number]))
            )
            side, num_rows = config.patch_size, grid.num_rows
            joint = cells.view(num_rows, -1, cells.shape[1], side, side)
            joint = joint.permute(2, 0, 3, 1, 4).reshape(1, cells.shape[1], 128, 128)
            if config.method == "local_global":
                with torch.set_grad_enabled(config.global_pass == "joint"):
                    whole = network.backbone(feeder.pixels(batch.resized(side)[number][None]))
                whole = functional.interpolate(whole, scale_factor=num_rows, mode="bilinear")
                if config.fusion_scale != "none":
                    whole = whole * network.fusion.scale.reshape(1, -1, 1, 1)
                joint = joint + whole if config.fusion == "add" else torch.cat([joint, whole], 1)
            outputs = network.head(joint)
        if config.method == "tiled":  # one image's patches are one image to the loss
            outputs = torch.cat(list(outputs), dim=-1)[None]
            target = torch.cat(list(target), dim=-1)[None]
        losses.append(smp_loss(outputs, target, num_classes))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("microbatch", ["none", 3])
@pytest.mark.parametrize("combination", COMBINATIONS, ids=IDS)
def test_pieces_have_the_gradient_of_one_graph(combination, microbatch, num_classes, monkeypatch):
    monkeypatch.setattr(segmentation, "PIECE_PX", 2 * 32**2)  # 8 pieces an image
    config = tiny_masks(
        **combination, patch_microbatch=microbatch, num_classes=num_classes, norm="frozen"
    )
    engine, guard = build_engine(config)
    batch = with_ignored(random_batch(config))
    with guard:
        engine._method.start(batch)
        loss = engine._method.backward(generator())
    ours = gradients(engine.network)
    positions = sampled(engine, config)

    reference = one_graph_loss(engine, config, batch, positions)
    reference.backward()

    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    assert relative_error(ours, gradients(engine.network)) < 1e-5


def test_the_comparison_finds_a_dice_loss_of_each_piece_alone(monkeypatch):
    monkeypatch.setattr(segmentation, "PIECE_PX", 2 * 32**2)
    config = tiny_masks(method="patchgd", num_classes=2, norm="frozen")
    engine, guard = build_engine(config)
    batch = random_batch(config)
    whole = Segmentation.sums

    def alone(self, outputs, targets):
        sums = whole(self, outputs, targets)
        return sums if not sums.requires_grad else sums * torch.tensor([1.0, 1, 0.9, 1.1, 1])

    monkeypatch.setattr(Segmentation, "sums", alone)
    with guard:
        engine._method.start(batch)
        engine._method.backward(generator())
    ours = gradients(engine.network)
    monkeypatch.setattr(Segmentation, "sums", whole)

    one_graph_loss(engine, config, batch, sampled(engine, config)).backward()

    assert relative_error(ours, gradients(engine.network)) > 1e-3


class _OfPixel(nn.Module):
    """A backbone whose features are the pixel's own colour, which identifies each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        more = images.new_zeros(len(images), self.channels - 3, *images.shape[2:])
        return torch.cat([images, more], dim=1) + 0 * self.unused


def _predicted(config, batch):
    """Return the prediction of a network for which bright red is class 1, all else class 0."""
    engine, guard = build_engine(config)
    of_pixel = _OfPixel(8)
    engine.network.backbone = engine._method._encoder.backbone = of_pixel
    engine.network.head = nn.Conv2d(16 if config.method == "local_global" else 8, 1, 1)
    with torch.no_grad():
        engine.network.head.weight.zero_()
        engine.network.head.weight[0, 0] = 1.0
        engine.network.head.bias.zero_()
    engine._method._reader._network = engine.network
    with guard:
        return engine.predict(batch)


@pytest.mark.parametrize("method", ["local_global", "patchgd", "tiled", "full"])
def test_a_prediction_lands_on_its_own_pixels(method):
    config = tiny_masks(method=method, num_classes=2, fusion="concat")
    marked = np.zeros((128, 128, 3), np.uint8)
    marked[37:53, 90:97] = 255
    marked[96, 32] = marked[127, 127] = marked[0, 64] = 255
    predicted = _predicted(config, HostBatch([marked, 255 - marked], [marked[..., 0]] * 2))
    assert np.array_equal(predicted[0] == 1, marked[..., 0] == 255)
    assert np.array_equal(predicted[1] == 0, marked[..., 0] == 255)


@pytest.mark.parametrize("height, width", [(128, 96), (95, 128), (50, 128), (128, 31)])
@pytest.mark.parametrize("method", ["local_global", "patchgd", "tiled", "full"])
def test_a_prediction_of_a_padded_image_lands_on_its_own_pixels(tmp_path, method, height, width):
    config = tiny_masks(method=method, num_classes=2, fusion="concat", norm="frozen")
    marked = np.random.default_rng(height).random((height, width)) < 0.03
    picture = Image.fromarray((marked * 255).astype(np.uint8))
    picture.convert("RGB").save(tmp_path / "image.png")
    picture.save(tmp_path / "mask.png")
    mask = MaskFiles(tmp_path / "mask.png", ThresholdMask())
    fitted = Example("a", tmp_path / "image.png", mask).read(128)
    upside_down = fitted.image[::-1].copy()
    batch = HostBatch([fitted.image, upside_down], [fitted.target, fitted.target[::-1]])
    one, other = _predicted(config, batch)
    assert np.array_equal(unfit_square(one, height, width) == 1, marked)
    assert np.array_equal(one, other[::-1])


def test_a_downsampled_prediction_is_enlarged_as_torch_enlarges():
    config = tiny_masks(method="downsampled", num_classes=3)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        predicted = engine.predict(batch)
    network = engine.network.eval()
    with torch.no_grad():
        logits = network(engine._feeder.pixels(batch.resized(32)))
        enlarged = functional.interpolate(logits, scale_factor=4, mode="bilinear")
    assert (predicted == enlarged.argmax(dim=1).numpy()).mean() > 0.9999


@pytest.mark.parametrize("combination", COMBINATIONS, ids=IDS)
def test_predictions_do_not_depend_on_the_batch(combination):
    config = tiny_masks(**combination)
    engine, guard = build_engine(config)
    batch = random_batch(config)
    with guard:
        together = engine.predict(batch)
        alone = engine.predict(HostBatch(batch.images[1:], batch.targets[1:]))
    assert together.shape == (2, 128, 128)
    assert (together[1] == alone[0]).mean() > 0.999


def test_only_ignored_pixels_give_a_loss_of_zero_and_no_gradient():
    config = tiny_masks(method="patchgd")
    engine, guard = build_engine(config)
    batch = random_batch(config)
    nothing = [np.full((128, 128), IGNORED, np.uint8)] * 2
    with guard:
        engine._method.start(HostBatch(batch.images, nothing))
        loss = engine._method.backward(generator())
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(engine.network))
