"""The contract suite of detectors' heads, which find objects in the maps of a feature pyramid.

Derive a test class from `HeadContract` and name your head in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from patchtrain.config import TrialConfig
from patchtrain.tasks import check_network
from patchtrain.tasks.detection.assignment import Region, locations
from patchtrain.tasks.detection.detectors import Levels, head_class
from patchtrain.tasks.detection.head import Locations, ObjectHead
from patchtrain.testing.rules import (
    check_chunks_change_no_gradient,
    check_deterministic,
    check_estimate_exact,
    check_leaves_nothing_behind,
    check_resumes,
)
from patchtrain.testing.trials import NUM_CLASSES, random_objects, tiny_trial

ESTIMATE_CASES: Mapping[str, Mapping[str, Any]] = {
    "tile": {"fusion": "concat"},
    "stack": {"layout": "stack"},
    "patchgd_in_bf16": {"method": "patchgd", "precision": "bf16"},
    "tiled": {"method": "tiled"},
    "downsampled": {"method": "downsampled"},
}
"""Settings with which the estimate is held against the meter."""

_SIDE_PX = 128


class HeadContract:
    """What a head must keep to: see `patchtrain.tasks.detection.head.ObjectHead`.

    Attributes:
        head: the name that a configuration has, such as `my_parts:Mine`.
        settings: changes to the tiny trial, if the head needs any.
    """

    head: str
    settings: Mapping[str, Any] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for each case of an estimate."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", ESTIMATE_CASES)

    def trial(self, **changes: Any) -> TrialConfig:
        """Return the tiny trial with this head."""
        return tiny_trial("detection", **{**self.settings, **changes, "head": self.head})

    def test_outputs_have_a_row_for_each_location(self) -> None:
        """Scores lie in 0 to 1 and boxes are finite, one row for each cell of the levels."""
        head, maps = self._head_and_maps()
        outputs, where = head(maps), _locations()
        scores, boxes = head.scores(outputs), head.boxes(outputs, where)
        num = Levels(_SIDE_PX).num_cells
        assert all(len(values[0]) == num for values in outputs), "an output without L rows"
        assert scores.shape == (2, num, NUM_CLASSES), f"{tuple(scores.shape)} scores"
        assert boxes.shape == (2, num, 4), f"{tuple(boxes.shape)} boxes"
        assert scores.min() >= 0 and scores.max() <= 1, "scores outside 0 to 1"
        assert boxes.isfinite().all(), "boxes that are not finite"

    def test_outputs_depend_on_nothing_beyond_the_halo(self) -> None:
        """A change farther away than `halo_cells` changes no output, as patches are read alone."""
        head, maps = self._head_and_maps()
        if any(isinstance(module, torch.nn.GroupNorm) for module in head.modules()):
            for module in list(head.modules()):  # whose statistics are those of the whole map
                for name, child in list(module.named_children()):
                    if isinstance(child, torch.nn.GroupNorm):
                        setattr(module, name, torch.nn.Identity())
        finest = maps[0].detach().requires_grad_()
        side = finest.shape[-1]
        head.scores(head([finest, *maps[1:]]))[0, 0].sum().backward()
        assert finest.grad is not None
        seen = finest.grad[0].abs().sum(0) > 0
        reach = int(seen.any(0).nonzero().max()) if seen.any() else 0
        assert reach <= head.halo_cells < side, f"outputs look {reach} cells far"

    def test_every_object_is_answered_or_left_out(self) -> None:
        """Labels are of the classes, or say background or uncounted; boxes belong to them."""
        head, _ = self._head_and_maps()
        objects = random_objects(12, _SIDE_PX, NUM_CLASSES).objects
        assigned = head.assign(objects, _regions())
        num = Levels(_SIDE_PX).num_cells
        assert assigned.labels.shape == (num,) and assigned.boxes.shape == (num, 4)
        assert assigned.labels.min() >= -2 and assigned.labels.max() < NUM_CLASSES
        assert assigned.num_found, "no location answers for any object"

    def test_it_is_accepted(self) -> None:
        """A configuration with it passes the checks before a launch."""
        check_network(self.trial())

    def test_equal_seeds_train_alike(self) -> None:
        """A trial with this head can be repeated."""
        check_deterministic(self.trial())

    def test_a_resumed_trial_ends_like_an_uninterrupted_one(self) -> None:
        """Its weights are all in the checkpoint."""
        check_resumes(self.trial())

    def test_chunks_change_no_gradient(self) -> None:
        """The gradient that it gives does not depend on the chunks of the backbone."""
        check_chunks_change_no_gradient(self.trial(norm="group"))

    def test_the_estimate_is_exact(self, case: str) -> None:
        """The dry run allocates what a metered run does."""
        check_estimate_exact(self.trial(**ESTIMATE_CASES[case]))

    def test_nothing_is_held_between_batches(self) -> None:
        """The network keeps nothing of a batch that is finished."""
        check_leaves_nothing_behind(self.trial())

    def _head_and_maps(self) -> tuple[ObjectHead, list[torch.Tensor]]:
        torch.manual_seed(0)
        num_features = self.trial().latent_channels
        sides = Levels(_SIDE_PX).sides
        maps = [torch.randn(2, num_features, side, side) for side in sides]
        return head_class(self.head)(num_features, NUM_CLASSES), maps


def _regions() -> list[Region]:
    levels = Levels(_SIDE_PX)
    pairs = zip(levels.strides, levels.sides, strict=True)
    return [Region(stride, 0, 0, side, side) for stride, side in pairs]


def _locations() -> Locations:
    levels = Levels(_SIDE_PX)
    places = torch.from_numpy(locations(_regions())).expand(2, -1, -1)
    strides = [
        float(stride)
        for stride, side in zip(levels.strides, levels.sides, strict=True)
        for _ in range(side**2)
    ]
    return Locations(places, torch.tensor(strides))
