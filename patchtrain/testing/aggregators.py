"""The contract suite of aggregators: networks that read the latent block of classification.

Derive a test class from `AggregatorContract` and name your aggregator in it.

Shapes: B batch, d features (2d when concatenated), m n grid, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from patchtrain.config import TrialConfig
from patchtrain.models.backbones import feature_dim
from patchtrain.tasks import build_network, check_network
from patchtrain.tasks.base import features_of_cell
from patchtrain.testing.rules import (
    check_deterministic,
    check_estimate_exact,
    check_leaves_nothing_behind,
)
from patchtrain.testing.trials import tiny_trial

GRID_SIZES = (2, 4, 5, 16)
"""Cells along a side; the paper's grids have 4 to 32."""

_PATCH_PX = 32
_NUM_CLASSES = 3

ESTIMATE_CASES: Mapping[str, Mapping[str, Any]] = {
    "concatenated_in_bf16": {"fusion": "concat", "precision": "bf16", "patch_microbatch": 3},
    "patchgd_on_a_small_grid": {
        "method": "patchgd",
        "image_size": 2 * _PATCH_PX,
        "sampling_rate": 0.5,
    },
}
"""Settings with which the estimate is held against the meter."""


class AggregatorContract:
    """What an aggregator must keep to: B x d x m x n -> B x K.

    Attributes:
        aggregator: the name that a configuration has, such as `my_parts:Mine`.
        settings: changes to the tiny trial, if the aggregator needs any.
    """

    aggregator: str
    settings: Mapping[str, Any] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for each case of an estimate."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", ESTIMATE_CASES)

    def trial(self, **changes: Any) -> TrialConfig:
        """Return the tiny trial with this aggregator."""
        settings = {**self.settings, **changes, "aggregator": self.aggregator}
        return tiny_trial("classification", **settings)

    @pytest.mark.parametrize("grid_size", GRID_SIZES)
    @pytest.mark.parametrize("fusion", ["add", "concat"])
    def test_it_reads_every_grid(self, grid_size: int, fusion: str) -> None:
        """A grid of any size gives one row of class scores for each image, and gradients."""
        config = self.trial(image_size=grid_size * _PATCH_PX, fusion=fusion, sampling_rate=1.0)
        check_network(config)
        latent = _latent(config).requires_grad_()
        scores = _head(config)(latent)
        assert scores.shape == (2, _NUM_CLASSES), f"{tuple(scores.shape)} scores"
        assert scores.isfinite().all(), "scores that are not finite"
        scores.square().sum().backward()
        reached = latent.grad is not None and bool(latent.grad.any())
        assert reached, "no gradient reaches the latent block"

    def test_every_image_is_read_by_itself(self) -> None:
        """In evaluation mode the scores of an image do not depend on the others."""
        config = self.trial()
        head, latent = _head(config).eval(), _latent(config)
        with torch.no_grad():
            together, alone = head(latent)[:1], head(latent[:1])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)

    def test_every_part_of_the_grid_counts(self) -> None:
        """A change in any cell can change the scores: no corner is strided away."""
        config = self.trial()
        head, latent = _head(config).eval(), _latent(config)[:1].requires_grad_()
        head(latent).square().sum().backward()
        assert latent.grad is not None
        ignored = (latent.grad.abs().sum(dim=1) == 0).sum().item()
        assert not ignored, f"{ignored} of {config.num_patches} cells have no influence"

    def test_equal_seeds_train_alike(self) -> None:
        """A trial with this aggregator can be repeated."""
        check_deterministic(self.trial())

    def test_the_estimate_is_exact(self, case: str) -> None:
        """The dry run allocates what a metered run does."""
        check_estimate_exact(self.trial(**ESTIMATE_CASES[case]))

    def test_nothing_is_held_between_batches(self) -> None:
        """The network keeps nothing of a batch that is finished."""
        check_leaves_nothing_behind(self.trial())


def _head(config: TrialConfig) -> nn.Module:
    """Return the aggregator of `config`, in training mode."""
    torch.manual_seed(0)
    return build_network(config, _NUM_CLASSES).head.train()


def _latent(config: TrialConfig) -> torch.Tensor:
    """Return a random latent block of two images."""
    backbone = build_network(config, _NUM_CLASSES).backbone
    channels = feature_dim(backbone) * features_of_cell(config)
    shape = (2, channels, config.grid_size, config.grid_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
