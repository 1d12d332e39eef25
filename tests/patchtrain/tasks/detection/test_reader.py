"""Maps read a window at a time, against everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import build_engine, generator, random_batch, tiny_boxes
from torch import Tensor, nn
from torch.nn import functional

from patchtrain.config import TrialConfig
from patchtrain.datasets.targets.boxes import Objects
from patchtrain.engine import Engine
from patchtrain.grid.patches import PatchGrid
from patchtrain.step.batch import HostBatch
from patchtrain.tasks.detection import reader as detection
from patchtrain.tasks.detection.assignment import Region, assign, locations, visible
from patchtrain.tasks.detection.detectors import Levels
from patchtrain.tasks.detection.fcos import HeadOutputs, losses
from patchtrain.testing.trials import relative_error

COMBINATIONS = [
    {"method": "local_global", "layout": "tile", "fusion": "concat"},
    {"method": "local_global", "layout": "tile", "fusion": "add"},
    {"method": "local_global", "layout": "stack", "fusion": "concat"},
    {"method": "local_global", "layout": "stack", "fusion": "add"},
    {"method": "local_global", "layout": "tile", "fusion": "concat", "global_pass": "filled"},
    {"method": "local_global", "layout": "stack", "fusion": "concat", "global_pass": "filled"},
    {"method": "local_global", "layout": "tile", "fusion": "add", "fusion_scale": 0.5},
    {"method": "local_global", "layout": "stack", "fusion": "add", "fusion_scale": 0.5},
    {"method": "patchgd", "layout": "tile"},
    {"method": "patchgd", "layout": "stack"},
    {"method": "tiled"},
    {"method": "downsampled"},
    {"method": "full"},
]
IDS = [" ".join(map(str, combination.values())) for combination in COMBINATIONS]


def without_group_norm(network: nn.Module) -> None:
    """Leave out the norms of the heads, whose statistics are those of a window, and draw weights
    with which distant cells matter.
    """
    for tower in (network.head.fcos.classification_head, network.head.fcos.regression_head):
        for number, layer in enumerate(tower.conv):
            if isinstance(layer, nn.GroupNorm):
                tower.conv[number] = nn.Identity()
        for layer in tower.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    nn.init.constant_(network.head.fcos.regression_head.bbox_reg.bias, 2.0)


def gradients(network: nn.Module) -> list[Tensor]:
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in network.parameters()
    ]
    network.zero_grad()
    return found


def enlarged(level: Tensor, times: int, stride: int) -> Tensor:
    """Return a map [1, d, h, h] `times` as large, by torch's own sampling."""
    side = level.shape[-1]
    px = torch.arange(times * side) * stride
    at = (((px + 0.5) / times - 0.5) / stride).clamp(0, side - 1)
    at = (2 * at + 1) / side - 1
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)[None]
    return functional.grid_sample(level, grid, align_corners=False, padding_mode="border")


def as_maps(cells: Tensor, levels: Levels) -> list[Tensor]:
    """[N, L, d] -> [N, d, h, h] of each level."""
    parts = cells.split([side**2 for side in levels.sides], dim=1)
    return [
        part.transpose(1, 2).unflatten(2, (side, side))
        for part, side in zip(parts, levels.sides, strict=True)
    ]


def sums_of(outputs: HeadOutputs, objects: Objects, regions: list[Region], where: Tensor | None):
    """Return the sum of losses over the locations `where`, and how many of these find something."""
    assigned = assign(objects, regions)
    labels = torch.from_numpy(assigned.labels)
    if where is not None:
        labels = torch.where(where, labels, -2)
    strides = torch.cat([torch.full((r.height * r.width,), float(r.stride)) for r in regions])
    total = losses(
        outputs,
        labels[None],
        torch.from_numpy(assigned.boxes)[None],
        torch.from_numpy(locations(regions))[None],
        strides,
    ).total
    return total, int((labels >= 0).sum())


def one_graph_loss(
    engine: Engine, config: TrialConfig, batch: HostBatch, positions: np.ndarray | None
) -> Tensor:
    """The same loss with the whole image in one graph."""
    network, feeder = engine.network, engine._feeder
    grid = PatchGrid(config.image_size, config.image_size, config.patch_size)
    levels, size = Levels(config.patch_size), grid.num_rows
    own = [Region(s, 0, 0, n, n) for s, n in zip(levels.strides, levels.sides, strict=True)]
    total, found = torch.zeros(()), 0
    for number, image in enumerate(batch.images):
        objects = batch.objects(number)
        if config.method == "full":
            whole = Levels(config.image_size)
            regions = [
                Region(s, 0, 0, n, n) for s, n in zip(whole.strides, whole.sides, strict=True)
            ]
            outputs = network.head(as_maps(network.backbone(feeder.pixels(image[None])), whole))
            parts = [sums_of(outputs, objects, regions, None)]
        elif config.method == "downsampled":
            small = feeder.pixels(batch.resized(config.patch_size)[number][None])
            outputs = network.head(as_maps(network.backbone(small), levels))
            parts = [sums_of(outputs, objects.moved(objects.boxes / size), own, None)]
        elif config.method == "tiled":
            parts = []
            for cell in positions[number]:
                pixels = feeder.pixels(grid.extract(image, [cell]))
                outputs = network.head(as_maps(network.backbone(pixels), levels))
                corner = np.array([cell % size, cell // size]) * config.patch_size
                box = np.concatenate([corner, corner + config.patch_size])
                seen = visible(objects, box)
                parts.append(
                    sums_of(outputs, seen.moved(seen.boxes - np.tile(corner, 2)), own, None)
                )
        else:
            with torch.no_grad():
                everything = feeder.pixels(grid.extract(image, np.arange(grid.num_patches)))
                cells = network.backbone(everything).clone()
            chosen = feeder.pixels(grid.extract(image, positions[number]))
            cells[positions[number]] = network.backbone(chosen)
            around = None
            if config.method == "local_global":
                small = feeder.pixels(batch.resized(config.patch_size)[number][None])
                with torch.set_grad_enabled(config.global_pass == "joint"):
                    around = network.backbone(small)
                if config.fusion_scale != "none":
                    around = around * network.fusion.scale
            read = read_tile if config.layout == "tile" else read_stack
            parts = [read(network, config, cells, around, objects, positions[number])]
        total = total + sum(part[0] for part in parts)
        found += sum(part[1] for part in parts)
    return total / max(1, found)


def read_tile(network, config, cells, around, objects, sampled):
    levels, size = Levels(config.patch_size), config.grid_size
    joined, regions, counted = [], [], []
    mine = np.isin(np.arange(size**2), sampled).reshape(size, size)
    for level, stride in zip(as_maps(cells, levels), levels.strides, strict=True):
        side = level.shape[-1]
        tiles = level.unflatten(0, (size, size)).permute(2, 0, 3, 1, 4)
        joint = tiles.reshape(1, -1, size * side, size * side)
        if around is not None:
            level_around = as_maps(around, levels)[levels.strides.index(stride)]
            whole = enlarged(level_around, size, stride)
            joint = joint + whole if config.fusion == "add" else torch.cat([joint, whole], 1)
        joined.append(network.head.join(joint))
        regions.append(Region(stride, 0, 0, size * side, size * side))
        counted.append(np.kron(mine, np.ones((side, side), bool)).ravel())
    outputs = network.head(joined)
    return sums_of(outputs, objects, regions, torch.from_numpy(np.concatenate(counted)))


def read_stack(network, config, cells, around, objects, sampled):
    levels, size = Levels(config.patch_size), config.grid_size
    joined = []
    for number, level in enumerate(as_maps(cells, levels)):
        joint = level.flatten(0, 1)[None]
        if around is not None:
            whole = as_maps(around, levels)[number]
            if config.fusion == "add":
                joint = joint + whole.repeat(1, size**2, 1, 1)
            else:
                joint = torch.cat([joint, whole], 1)
        joined.append(network.head.join(joint))
    regions = [Region(s, 0, 0, n, n) for s, n in zip(levels.strides, levels.sides, strict=True)]
    return sums_of(network.head(joined), objects.moved(objects.boxes / size), regions, None)


def sampled(engine: Engine, config: TrialConfig) -> np.ndarray | None:
    if not config.samples_patches:
        return None
    return engine._method._sample(config.batch_size, generator())


@pytest.mark.parametrize("microbatch", ["none", 3])
@pytest.mark.parametrize("combination", COMBINATIONS, ids=IDS)
def test_windows_have_the_gradient_of_one_graph(combination, microbatch, monkeypatch):
    monkeypatch.setattr(detection, "PIECE_PX", 2 * 64**2)  # 2 pieces an image
    config = tiny_boxes(**combination, patch_microbatch=microbatch, norm="frozen")
    engine, guard = build_engine(config)
    without_group_norm(engine.network)
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        loss = engine._method.backward(generator())
    ours = gradients(engine.network)

    reference = one_graph_loss(engine, config, batch, sampled(engine, config))
    reference.backward()

    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    assert relative_error(ours, gradients(engine.network)) < 1e-5


def test_the_comparison_finds_a_halo_that_is_too_small(monkeypatch):
    config = tiny_boxes(layout="tile", norm="frozen")
    engine, guard = build_engine(config)
    without_group_norm(engine.network)
    reader = engine._method._reader
    reader._windows = detection.Windows(reader._levels, reader._grid_size, halo=4)
    batch = random_batch(config)
    with guard:
        engine._method.start(batch)
        engine._method.backward(generator())
    ours = gradients(engine.network)
    one_graph_loss(engine, config, batch, sampled(engine, config)).backward()
    assert relative_error(ours, gradients(engine.network)) > 1e-4
