"""Assignment and losses against torchvision's FCOS on the same input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import FCOS
from torchvision.models.detection.fcos import FCOSHead

from patchtrain.datasets.targets.boxes import ANY_CLASS, Objects
from patchtrain.tasks.detection.assignment import BACKGROUND, UNCOUNTED, Region, assign, locations
from patchtrain.tasks.detection.fcos import HeadOutputs, decode, losses

NUM_CLASSES = 5
SIDE_PX = 256
STRIDES = (8, 16, 32, 64, 128)
WHOLE = [Region(stride, 0, 0, SIDE_PX // stride, SIDE_PX // stride) for stride in STRIDES]


def random_objects(seed: int, num: int, *, on_grid: bool = False) -> Objects:
    random = np.random.default_rng(seed)
    middles = random.uniform(-10, SIDE_PX + 10, (num, 2))
    halves = np.exp(random.uniform(np.log(0.5), np.log(150), (num, 2)))
    boxes = np.concatenate([middles - halves, middles + halves], axis=1)
    if on_grid:  # edges and middles on locations, where a wrong < would show
        boxes = np.round(boxes / 8) * 8
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    labels = random.integers(0, NUM_CLASSES, num)
    return Objects(boxes.astype(np.float32), labels, np.zeros(num, bool))


def anchors() -> torch.Tensor:
    places = torch.from_numpy(locations(WHOLE))
    halves = torch.cat([torch.full((r.height * r.width, 1), r.stride / 2) for r in WHOLE])
    return torch.cat([places - halves, places + halves], dim=1)


def random_outputs(seed: int, num: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    length = sum(region.height * region.width for region in WHOLE)
    sizes = {"cls_logits": NUM_CLASSES, "bbox_regression": 4, "bbox_ctrness": 1}
    drawn = {
        name: torch.randn(num, length, size, generator=generator) for name, size in sizes.items()
    }
    drawn["bbox_regression"] = (3 * drawn["bbox_regression"]).relu()
    return {name: value.requires_grad_() for name, value in drawn.items()}


def theirs(images: list[Objects], outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    class Bare(FCOS):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.head = FCOSHead(32, 1, NUM_CLASSES, 1)
            self.center_sampling_radius = 1.5

    targets = [
        {"boxes": torch.from_numpy(o.boxes), "labels": torch.from_numpy(o.labels)} for o in images
    ]
    per_level = [region.height * region.width for region in WHOLE]
    return Bare().compute_loss(targets, outputs, [anchors()] * len(images), per_level)


def ours(images: list[Objects], outputs: dict[str, torch.Tensor]):
    assigned = [assign(objects, WHOLE) for objects in images]
    strides = torch.cat([torch.full((r.height * r.width,), float(r.stride)) for r in WHOLE])
    sums = losses(
        HeadOutputs(outputs["cls_logits"], outputs["bbox_regression"], outputs["bbox_ctrness"]),
        torch.from_numpy(np.stack([a.labels for a in assigned])),
        torch.from_numpy(np.stack([a.boxes for a in assigned])),
        torch.from_numpy(locations(WHOLE)).expand(len(images), -1, -1),
        strides,
    )
    return sums, max(1, sum(a.num_found for a in assigned))


@pytest.mark.parametrize("num_objects", [(0, 0), (1, 0), (30, 7), (400, 1200)])
def test_losses_and_gradients_equal_torchvisions(num_objects):
    images = [random_objects(seed, num) for seed, num in enumerate(num_objects)]
    mine, other = random_outputs(3, 2), random_outputs(3, 2)
    sums, num_found = ours(images, mine)
    expected = theirs(images, other)
    found = [value / num_found for value in sums]
    names = ("classification", "bbox_regression", "bbox_ctrness")
    for value, name in zip(found, names, strict=True):
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    (sums.total / num_found).backward()
    sum(expected.values()).backward()
    for name, value in mine.items():
        wanted = other[name].grad
        torch.testing.assert_close(value.grad, wanted, rtol=1e-4, atol=1e-7)
    assert sums.boxes > 0 or sum(num_objects) < 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_each_location_answers_for_the_object_that_torchvision_says(seed, num, on_grid):
    objects = random_objects(seed, num, on_grid=on_grid)
    places = torch.from_numpy(locations(WHOLE))
    matched: list[torch.Tensor] = []

    class Spy(FCOS):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.center_sampling_radius = 1.5
            self.head = torch.nn.Module()
            self.head.compute_loss = lambda *arguments: matched.extend(arguments[3])

    target = {"boxes": torch.from_numpy(objects.boxes), "labels": torch.from_numpy(objects.labels)}
    per_level = [region.height * region.width for region in WHOLE]
    Spy().compute_loss([target], {}, [anchors()], per_level)
    assigned = assign(objects, WHOLE)
    wanted = matched[0].numpy()
    assert len(places) == len(wanted)
    np.testing.assert_array_equal(assigned.labels >= 0, wanted >= 0)
    np.testing.assert_array_equal(assigned.boxes[wanted >= 0], objects.boxes[wanted[wanted >= 0]])


def test_a_window_is_assigned_like_the_same_part_of_the_whole():
    objects = random_objects(5, 200)
    whole = assign(objects, WHOLE)
    windows = [Region(r.stride, r.height // 4, r.width // 2, r.height // 2, r.width // 2)
               for r in WHOLE]  # fmt: skip
    part = assign(objects, windows)
    start, parts = 0, []
    for region, window in zip(WHOLE, windows, strict=True):
        size = region.height * region.width
        level = whole.labels[start : start + size].reshape(region.height, region.width)
        rows = slice(window.top, window.top + window.height)
        parts.append(level[rows, window.left : window.left + window.width].ravel())
        start += size
    np.testing.assert_array_equal(part.labels, np.concatenate(parts))
    assert (part.labels >= 0).any()


def test_ignored_objects_are_not_counted_unless_another_object_lies_there():
    boxes = np.array([[0, 0, 128, 128], [40, 40, 60, 60]], np.float32)
    objects = Objects(boxes, np.array([ANY_CLASS, 3]), np.array([True, False]))
    assigned = assign(objects, WHOLE[:1])
    labels = assigned.labels.reshape(32, 32)
    assert (labels[1:16, 1:16] != BACKGROUND).all()
    assert (labels[17:, :] == BACKGROUND).all()
    assert labels[6, 6] == 3  # 48 px
    assert labels[3, 3] == UNCOUNTED
    outputs = random_outputs(0, 1)
    strides = torch.full((1024,), 8.0)
    parts = {name: value[:, :1024].detach() for name, value in outputs.items()}

    def focal(parts):
        return losses(
            HeadOutputs(parts["cls_logits"], parts["bbox_regression"], parts["bbox_ctrness"]),
            torch.from_numpy(assigned.labels)[None],
            torch.from_numpy(assigned.boxes)[None],
            torch.from_numpy(locations(WHOLE[:1]))[None],
            strides,
        ).classification

    before = focal(parts)
    parts["cls_logits"] = parts["cls_logits"].clone()
    parts["cls_logits"][0, 3 * 32 + 3] += 9
    assert focal(parts) == before
    parts["cls_logits"][0, 31 * 32 + 31] += 9
    assert focal(parts) > before


def test_decoding_is_the_inverse_of_measuring():
    places = torch.tensor([[[16.0, 24.0]]])
    boxes = decode(torch.tensor([[[1.0, 2.0, 3.0, 0.5]]]), places, torch.tensor([8.0]))
    assert boxes[0, 0].tolist() == [8.0, 8.0, 40.0, 28.0]
