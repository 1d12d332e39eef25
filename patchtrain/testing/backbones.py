"""The contract suites of backbones, one for each kind of network that a task needs.

Derive a test class from the suite of your task and name your backbone in it.

Shapes: B batch, p patch side in px, d features, s the network's shrinking.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from patchtrain.config import TrialConfig
from patchtrain.errors import ConfigError
from patchtrain.models.backbones import feature_dim, norms_over_inputs
from patchtrain.tasks import build_on_meta, check_network, parts_of
from patchtrain.tasks.detection.detectors import STRIDES, Levels, Pyramid
from patchtrain.testing.rules import (
    check_chunks_change_no_gradient,
    check_deterministic,
    check_equal,
    check_estimate_exact,
    check_leaves_nothing_behind,
    check_one_line,
)
from patchtrain.testing.trials import build_engine, tiny_trial, train_epoch

METHODS = ("local_global", "downsampled")
"""With and without a latent block."""

ESTIMATE_CASES: Mapping[str, Mapping[str, Any]] = {
    "whole_image": {"method": "downsampled", "accumulation_steps": 2},
    "one_patch_at_a_time": {"patch_microbatch": 1, "norm": "frozen", "precision": "bf16"},
}
"""Settings with which the estimate is held against the meter."""


class _BackboneContract:
    """What a backbone must keep to, whatever it is for.

    Attributes:
        backbone: the name that a configuration has, such as `my_parts:Mine`.
        settings: changes to the tiny trial, such as a larger `patch_size`.
        task: set by the suite.
    """

    backbone: str
    settings: Mapping[str, Any] = {}
    task: str

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for each case of an estimate."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", ESTIMATE_CASES)

    def trial(self, **changes: Any) -> TrialConfig:
        """Return the tiny trial of the task with this backbone."""
        return tiny_trial(self.task, **{**self.settings, **changes, "backbone": self.backbone})

    def build(self, seed: int = 0, **changes: Any) -> nn.Module:
        """Return the backbone as a trial has it."""
        config = self.trial(**changes)
        torch.manual_seed(seed)
        return parts_of(config).load_backbone(config)

    def own(self, backbone: nn.Module) -> nn.Module:
        """Return the part of `backbone` that is the named network and not the task's."""
        return backbone

    # --- shapes ---

    @abstractmethod
    def check_features(self, backbone: nn.Module, features: Tensor, side_px: int) -> None:
        """Fail unless `features` of images of `side_px` are what the task reads."""

    @pytest.mark.parametrize("training", [True, False])
    def test_it_gives_the_features_that_it_declares(self, training: bool) -> None:
        """Shapes agree with the attributes, in training and in evaluation mode."""
        config = self.trial()
        backbone = self.build().train(training)
        features = backbone(torch.randn(2, 3, config.patch_size, config.patch_size))
        assert features.isfinite().all(), "features that are not finite"
        self.check_features(backbone, features, config.patch_size)

    def test_every_method_accepts_it(self) -> None:
        """The check before a trial starts passes, on the meta device."""
        for method in METHODS:
            check_network(self.trial(method=method))

    def test_it_is_built_without_memory(self) -> None:
        """It can be built on the meta device, or moved there, and has the same parameters."""
        sizes = {name: tensor.shape for name, tensor in self.build().state_dict().items()}
        on_meta = build_on_meta(self.trial(method="downsampled"), num_classes=2).backbone
        assert all(tensor.is_meta for tensor in on_meta.state_dict().values())
        assert {name: tensor.shape for name, tensor in on_meta.state_dict().items()} == sizes

    # --- training ---

    def test_its_weights_depend_on_the_seed_alone(self) -> None:
        """Weights are drawn from torch's random state."""
        one, same, other = self.build(), self.build(), self.build(seed=1)
        check_equal(one.state_dict(), same.state_dict(), "equal seeds give different weights")
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        assert any(not a.equal(b) for a, b in pairs), "another seed gives the same weights"

    def test_equal_seeds_train_alike(self) -> None:
        """A trial with this backbone can be repeated."""
        check_deterministic(self.trial())

    def test_chunks_change_no_gradient(self) -> None:
        """An input's features depend on that input alone, once batch norm is frozen."""
        check_chunks_change_no_gradient(self.trial(norm="frozen"))

    def test_every_parameter_gets_a_gradient(self) -> None:
        """A parameter that is never used costs memory in the optimizer for nothing."""
        config = self.trial(method="downsampled")
        backbone = self.build()
        features = backbone(torch.randn(2, 3, config.patch_size, config.patch_size))
        features.square().sum().backward()
        unused = [name for name, p in self.own(backbone).named_parameters() if p.grad is None]
        assert not unused, f"never used: {', '.join(unused)}"

    # --- memory ---

    def test_the_estimate_is_exact(self, case: str) -> None:
        """The dry run allocates what a metered run does."""
        check_estimate_exact(self.trial(**ESTIMATE_CASES[case]))

    def test_nothing_is_held_between_batches(self) -> None:
        """The network keeps no features of a batch that is finished."""
        check_leaves_nothing_behind(self.trial())

    # --- norms ---

    def test_group_norm_takes_the_place_of_batch_norm(self) -> None:
        """No statistics over inputs are left with `norm: group`."""
        backbone = self.build(norm="group")
        assert not [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
        assert not norms_over_inputs(backbone), "a norm that is not torch's keeps statistics"

    def test_frozen_norms_never_change(self) -> None:
        """With `norm: frozen` training leaves the running statistics alone."""
        config = self.trial(norm="frozen")
        engine, guard = build_engine(config)
        before = {name: value.clone() for name, value in engine.network.backbone.named_buffers()}
        with guard:
            train_epoch(engine, config, range(2))
        check_equal(dict(engine.network.backbone.named_buffers()), before, "statistics changed")

    # --- weights ---

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_weights_are_saved_and_loaded(self, norm: str, tmp_path: Path) -> None:
        """A safetensors file gives the same network, whatever the seed."""
        saved = self.own(self.build(norm=norm)).state_dict()
        path = tmp_path / "weights.safetensors"
        save_file({name: value.clone() for name, value in saved.items()}, path)
        loaded = self.own(self.build(seed=1, norm=norm, weights=str(path)))
        check_equal(loaded.state_dict(), saved, "loaded weights differ")

    def test_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        """One line says which file does not fit."""
        path = tmp_path / "weights.safetensors"
        save_file({"something.else": torch.zeros(1)}, path)
        with pytest.raises(ConfigError) as caught:
            self.build(weights=str(path))
        check_one_line(caught.value, str(path))

    def test_predictions_of_an_image_do_not_depend_on_the_batch(self) -> None:
        """In evaluation mode an input's features depend on that input alone."""
        config = self.trial()
        backbone = self.build().eval()
        pixels = torch.randn(2, 3, config.patch_size, config.patch_size)
        with torch.no_grad():
            together, alone = backbone(pixels)[:1], backbone(pixels[:1])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


class ClassificationBackboneContract(_BackboneContract):
    """B x 3 x p x p -> B x d, with `num_features` d."""

    task = "classification"

    def check_features(self, backbone: nn.Module, features: Tensor, side_px: int) -> None:
        """Fail unless there is one vector for each input."""
        expected = (2, feature_dim(backbone))
        assert features.shape == expected, f"{tuple(features.shape)} features, not {expected}"


class SegmentationBackboneContract(_BackboneContract):
    """B x 3 x p x p -> B x d x p/s x p/s, with `num_features` d and `stride` s (1 if not set)."""

    task = "segmentation"

    def check_features(self, backbone: nn.Module, features: Tensor, side_px: int) -> None:
        """Fail unless there is one map for each input, which a classifier enlarges to its size."""
        assert features.ndim == 4, f"{features.ndim} axes, not the 4 of maps"
        num_features = getattr(backbone, "num_features", features.shape[1])
        assert features.shape[1] == num_features, (
            f"{features.shape[1]} channels, declared {num_features}"
        )
        stride = getattr(backbone, "stride", side_px // features.shape[2])
        expected = (side_px // stride,) * 2
        assert features.shape[2:] == expected, (
            f"maps of {tuple(features.shape[2:])}, not {expected}"
        )


class DetectionBackboneContract(_BackboneContract):
    """B x 3 x p x p -> three maps of strides 8, 16 and 32 px, with `feature_channels`."""

    task = "detection"

    def own(self, backbone: nn.Module) -> nn.Module:
        """Return the network without the feature pyramid on top."""
        assert isinstance(backbone, Pyramid)
        return backbone.body

    def check_features(self, backbone: nn.Module, features: Tensor, side_px: int) -> None:
        """Fail unless the pyramid has the cells of all levels."""
        assert features.shape[1] == Levels(side_px).num_cells

    def test_its_maps_have_the_strides_that_the_pyramid_starts_from(self) -> None:
        """Three maps, of strides 8, 16 and 32 px, the finest first."""
        side_px = self.trial().patch_size
        maps = self.own(self.build())(torch.randn(2, 3, side_px, side_px))
        sides = [tuple(level.shape[2:]) for level in maps]
        expected = [(side_px // stride,) * 2 for stride in STRIDES[:3]]
        assert sides == expected, f"maps of {sides}, not {expected}"
