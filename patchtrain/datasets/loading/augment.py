"""Random changes of training images and of their masks or boxes; knows nothing of files.

Shapes: S image_size.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from patchtrain.config import AUGMENTATIONS
from patchtrain.datasets.targets.boxes import FittedObjects
from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.images import WHITE

if TYPE_CHECKING:
    from torchvision.tv_tensors import BoundingBoxes, Image, Mask

    Pair = tuple[Image, Mask | BoundingBoxes | None]
    """An image [3, S, S] and its mask [S, S] or boxes [n, 4]; None: the target is a class."""

JITTER = 0.2
"""Brightness, contrast and saturation are changed by factors from 1 - JITTER to 1 + JITTER."""

HUE_JITTER = 0.02
"""Largest shift of hues, as a share of the colour circle."""


class Augmentation:
    """Changes an image together with its mask or boxes.

    `flip`: left to right and top to bottom, each in half the images. `rotate`: by any angle about
    the middle; corners that come into view are white, and ignored in the mask. `colour`: small
    changes of brightness, contrast, saturation and hue of the image.

    The result depends on the seeds and the image_id alone, not on order or process; torch's global
    random state is neither used nor changed. Each change has its own random numbers: adding one
    leaves the others as they are.

    Args:
        names: some of `config.AUGMENTATIONS`, in any order.
        seeds: e.g. of the trial, and the number of the epoch.
    """

    def __init__(self, names: tuple[str, ...], *seeds: int) -> None:
        self._names = tuple(name for name in AUGMENTATIONS if name in names)
        self._seeds = seeds

    def __call__(
        self, image: np.ndarray, target: int | np.ndarray | FittedObjects, image_id: str
    ) -> tuple[np.ndarray, int | np.ndarray | FittedObjects]:
        """Return the changed image [S, S, 3] and target; the arguments stay as they are."""
        from torchvision import tv_tensors

        channels_first = torch.from_numpy(image).permute(2, 0, 1)
        pair: Pair = (tv_tensors.Image(channels_first), _with_place(target, len(image)))
        for name in self._names:
            pair = _CHANGES[name](pair, self._random(name, image_id))
        changed = np.ascontiguousarray(pair[0].permute(1, 2, 0).numpy())
        if pair[1] is None:
            return changed, target
        values = pair[1].numpy()
        if isinstance(target, FittedObjects):
            return changed, replace(target, objects=target.objects.moved(values))
        return changed, values

    def _random(self, name: str, image_id: str) -> np.random.Generator:
        text = "\n".join([*map(str, self._seeds), name, image_id])
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def _with_place(target: int | np.ndarray | FittedObjects, side_px: int) -> Any:
    """Return the part of a target that changes with the image; None if nothing does."""
    from torchvision import tv_tensors

    if isinstance(target, int):
        return None
    if isinstance(target, FittedObjects):
        boxes = torch.from_numpy(target.objects.boxes)
        return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(side_px, side_px))
    return tv_tensors.Mask(torch.from_numpy(target))


def _flip(pair: Pair, random: np.random.Generator) -> Pair:
    from torchvision.transforms.v2 import functional

    image, target = pair
    left_right, top_bottom = random.random(2) < 0.5
    if left_right:
        image = functional.horizontal_flip(image)
        target = None if target is None else functional.horizontal_flip(target)
    if top_bottom:
        image = functional.vertical_flip(image)
        target = None if target is None else functional.vertical_flip(target)
    return image, target


def _rotate(pair: Pair, random: np.random.Generator) -> Pair:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image, mask = pair
    angle = random.uniform(-180, 180)
    image = functional.rotate(image, angle, InterpolationMode.BILINEAR, fill=WHITE)
    if mask is not None:  # masks are always rotated to the nearest pixel
        mask = functional.rotate(mask, angle, fill=IGNORED)
    return image, mask


def _jitter_colour(pair: Pair, random: np.random.Generator) -> Pair:
    from torchvision.transforms.v2 import functional

    image, target = pair
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, 3)
    image = functional.adjust_brightness(image, brightness)
    image = functional.adjust_contrast(image, contrast)
    image = functional.adjust_saturation(image, saturation)
    return functional.adjust_hue(image, random.uniform(-HUE_JITTER, HUE_JITTER)), target


_CHANGES = {"flip": _flip, "rotate": _rotate, "colour": _jitter_colour}
