"""Which location of a feature pyramid answers for which object: FCOS's rules, on the host.

Tian et al., FCOS, 2019: a location answers for an object if it lies in the object's box, near the
middle, and the box has the size that the location's level is for; if there are several, for the
smallest. The results equal those of `torchvision.models.detection.FCOS` (a test compares), whose
table of all locations by all objects would take gigabytes here: instead each object is painted into
the cells it covers, large ones first.

Shapes: n objects, L locations of all levels, c windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from patchtrain.datasets.targets.boxes import Objects

BACKGROUND = -1
UNCOUNTED = -2

_RADIUS = 1.5
"""How far from an object's middle a location may lie to answer for it, in strides."""

_LARGEST = 8
"""How far away, in strides, a level looks for the sides of a box; the last level has no limit."""


MIN_VISIBLE = 0.3
"""Share of an object that must lie in a patch for the patch alone to learn it (`tiled`)."""


class Region(NamedTuple):
    """Cells of one level."""

    stride: int
    """In px."""
    top: int
    """Row of the first cell."""
    left: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Assigned:
    """What locations should find: level by level, row by row in each level."""

    labels: np.ndarray
    """int64 [..., L]: class number, `BACKGROUND` or `UNCOUNTED`."""
    boxes: np.ndarray
    """float32 [..., L, 4]; zeros if there is nothing to find."""

    @property
    def num_found(self) -> int:
        """How many locations answer for an object."""
        return int((self.labels >= 0).sum())


def locations(regions: list[Region]) -> np.ndarray:
    """Return x and y in px of all locations, float32 [L, 2]: the middle of what their cells see,
    given that every layer that halves a map pads it by one pixel.
    """
    return np.concatenate([_of_region(region) for region in regions])


def assign(objects: Objects, regions: list[Region]) -> Assigned:
    """Return what the locations in `regions`, one region per level, should find.

    Locations that lie in an ignored object and answer for no other are not counted.
    """
    labels, boxes = [], []
    for number, region in enumerate(regions):
        smallest = 0 if number == 0 else _LARGEST // 2 * region.stride
        largest = np.inf if number == len(regions) - 1 else _LARGEST * region.stride
        painted_labels, painted_boxes = _paint(objects, region, smallest, largest)
        labels.append(painted_labels.ravel())
        boxes.append(painted_boxes.reshape(-1, 4))
    return Assigned(np.concatenate(labels), np.concatenate(boxes))


def visible(objects: Objects, box: np.ndarray) -> Objects:
    """Return the parts of `objects` inside `box` [4]; those of which less than `MIN_VISIBLE` is
    inside become regions to ignore, so that nothing is learned for or against them.
    """
    seen = objects.moved(
        np.concatenate(
            [np.maximum(objects.boxes[:, :2], box[:2]), np.minimum(objects.boxes[:, 2:], box[2:])],
            axis=1,
        )
    )
    inside = np.flatnonzero(np.all(seen.boxes[:, 2:] > seen.boxes[:, :2], axis=1))
    seen, whole = seen.only(inside), objects.boxes[inside]
    share = np.prod(seen.boxes[:, 2:] - seen.boxes[:, :2], axis=1) / np.prod(
        whole[:, 2:] - whole[:, :2], axis=1
    )
    return Objects(seen.boxes, seen.labels, seen.ignored | (share < MIN_VISIBLE))


def _of_region(region: Region) -> np.ndarray:
    x = (region.left + np.arange(region.width)) * region.stride
    y = (region.top + np.arange(region.height)) * region.stride
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)


def _paint(
    objects: Objects, region: Region, smallest: float, largest: float
) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full((region.height, region.width), BACKGROUND, np.int64)
    boxes = np.zeros((region.height, region.width, 4), np.float32)
    for box in objects.boxes[objects.ignored]:
        rows, cols = _cells(box, region)
        labels[rows, cols] = UNCOUNTED
    wanted = np.flatnonzero(~objects.ignored)
    near = wanted[_reaches(objects.boxes[wanted], region)]
    order = np.lexsort((-near, _smallness(objects.boxes[near])))
    for number in near[order]:
        box = objects.boxes[number]
        middle = (box[:2] + box[2:]) / 2
        reach = _RADIUS * region.stride
        around = np.concatenate([middle - reach, middle + reach])
        inside = np.concatenate([np.maximum(box[:2], around[:2]), np.minimum(box[2:], around[2:])])
        rows, cols = _cells(inside, region)
        x = (region.left + np.arange(cols.start, cols.stop)) * region.stride
        y = (region.top + np.arange(rows.start, rows.stop)) * region.stride
        farthest = np.maximum(
            np.maximum(y - box[1], box[3] - y)[:, None], np.maximum(x - box[0], box[2] - x)
        )
        answers = (farthest > smallest) & (farthest < largest)
        labels[rows, cols][answers] = objects.labels[number]
        boxes[rows, cols][answers] = box
    return labels, boxes


def _smallness(boxes: np.ndarray) -> np.ndarray:
    """Return a number [n] that is larger for smaller `boxes` [n, 4], in fp32 as in torchvision:
    areas that differ by less than about 8 square px count as equal, and then the first box wins.
    """
    sizes = boxes[:, 2:] - boxes[:, :2]
    return np.float32(1e8) - sizes[:, 0] * sizes[:, 1]


def _reaches(boxes: np.ndarray, region: Region) -> np.ndarray:
    """Return which `boxes` [n, 4] may cover a cell of `region`, bool [n]."""
    first = np.array([region.left, region.top]) * region.stride
    last = first + np.array([region.width - 1, region.height - 1]) * region.stride
    return np.all((boxes[:, :2] < last + 1) & (boxes[:, 2:] > first - 1), axis=1)


def _cells(box: np.ndarray, region: Region) -> tuple[slice, slice]:
    """Return the rows and columns of `region` whose locations lie in `box`, not on its edge."""
    cols = _span(box[0], box[2], region.left, region.width, region.stride)
    rows = _span(box[1], box[3], region.top, region.height, region.stride)
    return rows, cols


def _span(low: float, high: float, first: int, num: int, stride: int) -> slice:
    start = int(np.floor(low / stride)) + 1 - first
    stop = int(np.ceil(high / stride)) - first
    start = min(max(start, 0), num)
    return slice(start, max(start, min(stop, num)))
