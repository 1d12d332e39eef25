from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from conftest import TINY, TINY_BOXES, TINY_MASKS, tiny
from safetensors.torch import save_file
from torch import nn

from patchtrain.errors import ConfigError
from patchtrain.models.backbones import build_backbone, feature_dim
from patchtrain.tasks import build_network, build_on_meta, check_network
from patchtrain.tasks.classification.aggregators import (
    allowed_reduction,
    build_aggregator,
    layers_to_unstride,
)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "mobilenetv3_small_050"])
def test_feature_dim_is_what_the_backbone_gives(name):
    backbone = build_backbone(name, "none", "batch").eval()
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, feature_dim(backbone))


@pytest.mark.parametrize(("grid", "reduction"), [(2, 1), (3, 1), (4, 2), (8, 4), (16, 8), (32, 16)])
def test_two_cells_a_side_are_always_left(grid, reduction):
    assert allowed_reduction(grid) == reduction


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "test_convnext", "resnet26d"])
@pytest.mark.parametrize("grid", [2, 4, 5, 16])
def test_a_small_grid_is_not_strided_away(name, grid):
    aggregator = build_aggregator(name, 8, grid, num_classes=3).eval()
    features = aggregator.forward_features(torch.zeros(1, 8, grid, grid))
    assert features.shape[-1] >= 2
    assert aggregator(torch.zeros(1, 8, grid, grid)).shape == (1, 3)


def test_a_large_grid_keeps_every_stride():
    assert layers_to_unstride("resnet18", 32) == ()


def test_concatenation_doubles_the_first_convolutions_input():
    network = build_network(tiny(aggregator="resnet18", fusion="concat"), 3)
    dim = feature_dim(network.backbone)
    assert network.head.conv1.in_channels == 2 * dim
    network = build_network(tiny(aggregator="resnet18", method="patchgd", fusion="concat"), 3)
    assert network.head.conv1.in_channels == dim


def test_same_builds_the_backbones_family():
    network = build_network(tiny(backbone="resnet18", aggregator="same"), 3)
    assert type(network.head) is type(network.backbone)


def test_group_norm_leaves_no_batch_norm_and_gives_the_same_in_both_modes():
    network = build_network(tiny(norm="group"), 3)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    images = torch.randn(2, 3, 32, 32)
    features = network.backbone.train()(images)
    torch.testing.assert_close(features, network.backbone.eval()(images))


def test_frozen_norms_keep_their_statistics_in_training():
    network = build_network(tiny(norm="frozen"), 3).train()
    before = [b.clone() for b in network.backbone.buffers()]
    network.backbone(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(before, network.backbone.buffers(), strict=True))
    norms = [m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": "resnet5O"},
            "backbone='resnet5O' is not a network of timm; did you mean resnet50",
        ),
        ({"aggregator": "zzzz"}, "aggregator='zzzz' is not a network of timm"),
        ({"backbone": "vit_tiny_patch16_224"}, "backbone='vit_tiny_patch16_224' cannot be trained"),
        ({"aggregator": "vit_tiny_patch16_224"}, "cannot read a grid of features"),
        (
            {"backbone": "resnet18", "batch_size": 1, "method": "patchgd", "sampling_rate": 0.1},
            "Expected more than 1 value per channel",
        ),
        ({"weights": "/no/such/file"}, "weights='/no/such/file' is not a file"),
    ],
)
def test_networks_that_cannot_be_built_are_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_network(tiny(**changes))
    assert "\n" not in str(caught.value)


def test_weights_of_a_file_are_loaded(tmp_path):
    torch.manual_seed(1)
    saved = build_backbone("test_resnet", "none", "batch")
    save_file(saved.state_dict(), tmp_path / "weights.safetensors")
    loaded = build_backbone("test_resnet", str(tmp_path / "weights.safetensors"), "batch")
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


@pytest.mark.parametrize(
    ("config", "loaded"), [(TINY, ""), (TINY_MASKS, "encoder."), (TINY_BOXES, "body.")]
)
@pytest.mark.parametrize("norm", ["batch", "group", "frozen"])
def test_weights_of_a_trials_checkpoint_are_loaded(tmp_path, config, loaded, norm):
    """The backbone of one trial can start another one with any method and norm."""
    config = replace(config, norm=norm)
    torch.manual_seed(1)
    first = build_network(replace(config, method="patchgd"), 3)
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    weights = str(tmp_path / "model.safetensors")
    torch.manual_seed(2)
    second = build_network(replace(config, method="local_global", weights=weights), 3)
    tensors = second.backbone.state_dict()
    compared = [name for name in tensors if loaded in name]
    assert compared
    for name in compared:
        assert torch.equal(first.backbone.state_dict()[name], tensors[name])


def test_group_norm_takes_weights_of_batch_norm_but_not_the_other_way(tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(1)
    saved = build_backbone("test_resnet", "none", "batch")
    save_file(saved.state_dict(), path)
    grouped = build_backbone("test_resnet", str(path), "group")
    assert torch.equal(saved.conv1[0].weight, grouped.conv1[0].weight)
    save_file(grouped.state_dict(), path)
    with pytest.raises(ConfigError, match="use norm=group"):
        build_backbone("test_resnet", str(path), "batch")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.zeros(1)}, "lack .* parameters"),
        ({"conv1.0.weight": torch.zeros(1)}, "do not fit this backbone"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match=message):
        build_backbone("test_resnet", str(tmp_path / "weights.safetensors"), "batch")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "weights").write_text("no tensors")
    with pytest.raises(ConfigError, match="is not a safetensors file"):
        build_backbone("test_resnet", str(tmp_path / "weights"), "batch")


def test_weights_that_cannot_be_downloaded_are_refused_in_one_line(monkeypatch):
    """The download itself is the only thing replaced."""
    import timm.models._builder as builder

    def unreachable(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr(builder, "load_state_dict_from_hf", unreachable)
    monkeypatch.setattr(builder, "load_state_dict_from_url", unreachable, raising=False)
    with pytest.raises(ConfigError, match="weights='pretrained' of backbone='resnet18'") as caught:
        build_backbone("resnet18", "pretrained", "batch")
    assert "\n" not in str(caught.value)


OF_EACH_TASK = pytest.mark.parametrize(
    "config", [TINY, TINY_MASKS, TINY_BOXES], ids=lambda config: config.task
)


@OF_EACH_TASK
def test_a_builder_that_computes_on_tensors_gets_memory(config, monkeypatch):
    create = timm.create_model

    def computing(*args, **kwargs):
        assert torch.linspace(0, 1, 3)[-1].item() == 1  # impossible on the meta device
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", computing)
    network = build_on_meta(config, 2)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


@OF_EACH_TASK
def test_a_builder_that_fails_is_refused_in_one_line(config, monkeypatch):
    def failing(*args, **kwargs):
        raise RuntimeError("no such\nstride")

    monkeypatch.setattr(timm, "create_model", failing)
    with pytest.raises(
        ConfigError, match=r"\w+='.*test_resnet' .* \(no such stride\); use another"
    ):
        build_on_meta(config, 2)
