"""A batch of host images, and how its pixels get to the device.

Images stay on the host; only the pixels that a pass needs are copied to the device, as uint8, and
normalised there.

Shapes: B batch, H W image px, m n grid, p patch px, k sampled, N any number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from patchtrain.datasets.targets.boxes import FittedObjects, Objects
from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.grid.patches import PatchGrid
from patchtrain.images import fit_labels
from patchtrain.memory.budget import MemoryGuard
from patchtrain.memory.meter import INPUT

CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)
"""ImageNet's, in RGB order, which timm's pretrained weights expect."""


@dataclass(frozen=True)
class HostBatch:
    """The images of a batch, each uint8 [H, W, 3], and their targets."""

    images: Sequence[np.ndarray]
    targets: Sequence[int | np.ndarray | FittedObjects]
    """For each image its class, the class of each pixel (uint8 [H, W]), or its objects."""

    _resized: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.images)

    def whole(self) -> np.ndarray:
        """Return every image at full size, uint8 [B, H, W, 3]."""
        return np.stack(self.images)

    def class_numbers(self) -> np.ndarray:
        """Return the classes of the images, int64 [B]."""
        return np.array(self.targets, dtype=np.int64)

    def masks(self, image: int, grid: PatchGrid, cells: np.ndarray) -> np.ndarray:
        """Return the classes uint8 [c, p, p] of one image's pixels in `cells` [c] of `grid`. If the
        grid is smaller than the image, they are those of the image shrunk to the grid (nearest
        pixels).
        """
        mask = np.asarray(self.targets[image])
        if mask.shape[0] != grid.image_height:
            mask = fit_labels(mask, grid.image_height, IGNORED)
        return grid.extract(mask[..., None], cells)[..., 0]

    def objects(self, image: int) -> Objects:
        """Return the objects of one image, in px of the image."""
        target = self.targets[image]
        assert isinstance(target, FittedObjects)
        return target.objects

    def sampled(self, grid: PatchGrid, positions: np.ndarray, *, with_whole: bool) -> np.ndarray:
        """Return, image by image, the patches at `positions` [B, k], followed by the whole image
        resized to a patch if `with_whole`; uint8 [N, p, p, 3].
        """
        parts = []
        for number, (image, cells) in enumerate(zip(self.images, positions, strict=True)):
            parts.append(grid.extract(image, cells))
            if with_whole:
                parts.append(self.resized(grid.patch_size)[number : number + 1])
        return np.concatenate(parts)

    def cells(self, grid: PatchGrid, start: int, stop: int) -> np.ndarray:
        """Return the patches `start` to `stop` (not included) of all B*mn, uint8 [N, p, p, 3]."""
        parts = []
        while start < stop:
            image, cell = divmod(start, grid.num_patches)
            last = min(cell + stop - start, grid.num_patches)
            parts.append(grid.extract(self.images[image], np.arange(cell, last)))
            start += last - cell
        return np.concatenate(parts)

    def tiles(self, places: np.ndarray, side_px: int) -> np.ndarray:
        """Return patches of `side_px` at `places` [N, 3] (image, top and left in px), uint8
        [N, p, p, 3].
        """
        return np.stack(
            [
                self.images[image][top : top + side_px, left : left + side_px]
                for image, top, left in places
            ]
        )

    def resized(self, side_px: int) -> np.ndarray:
        """Return every whole image resized to uint8 [B, side, side, 3], antialiased."""
        if side_px not in self._resized:  # each inner iteration asks again
            self._resized[side_px] = np.stack([_resize(image, side_px) for image in self.images])
        return self._resized[side_px]


class DeviceFeeder:
    """Moves host pixels to a device, counted as input, and normalises them there."""

    def __init__(self, guard: MemoryGuard, layout: torch.memory_format) -> None:
        """Args: layout: memory layout of the pixels that go to the network."""
        self._device = guard.device
        self._guard = guard
        self._layout = layout
        with guard.on_host():
            scale = 255 * torch.tensor(CHANNEL_STD).view(1, 3, 1, 1)
            shift = torch.tensor(CHANNEL_MEAN).view(1, 3, 1, 1) / torch.tensor(CHANNEL_STD).view(
                1, 3, 1, 1
            )
        with guard.allocating(INPUT):
            self._scale = torch.empty_like(scale, device=self._device).copy_(scale)
            self._shift = torch.empty_like(shift, device=self._device).copy_(shift)

    def pixels(self, images: np.ndarray) -> Tensor:
        """Return uint8 `images` [N, p, p, 3] as normalised float [N, 3, p, p] on the device."""
        with self._guard.allocating(INPUT):
            raw = self._copy(images).permute(0, 3, 1, 2)
            pixels = torch.empty(raw.shape, device=self._device, memory_format=self._layout)
            return pixels.copy_(raw).div_(self._scale).sub_(self._shift)

    def targets(self, targets: np.ndarray) -> Tensor:
        """Return `targets`, whole numbers of any shape, on the device."""
        return self.constants(targets, INPUT)

    def constants(self, values: np.ndarray, category: str) -> Tensor:
        """Return `values` on the device, fractions in torch's default precision; their memory
        counts as `category`.
        """
        with self._guard.allocating(category):
            return self._copy(values)

    def _copy(self, array: np.ndarray) -> Tensor:
        with self._guard.on_host():
            host = self._on_host(array)
        dtype = torch.get_default_dtype() if host.is_floating_point() else host.dtype
        # copied on the CPU too, so that what a device would hold is counted there as well
        return torch.empty(host.shape, dtype=dtype, device=self._device).copy_(host)

    def _on_host(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))


def _resize(image: np.ndarray, side_px: int) -> np.ndarray:
    size = (side_px, side_px)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
