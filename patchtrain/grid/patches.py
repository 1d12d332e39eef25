"""`PatchGrid`: where the patches of an image lie; knows nothing of models or files.

Legend: m rows and n columns of the grid, p side of a patch in px, k positions, C channels.
A position is a number 0..mn-1 that counts patches row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from patchtrain.errors import ConfigError

Positions = Sequence[int] | np.ndarray | torch.Tensor
"""Whole numbers [k], each in 0..mn-1."""


def tile_corners(image_size: int, patch_size: int, overlap: float) -> np.ndarray:
    """Return top and left in px, int64 [t, 2], of patches that cover a square image, row by row.

    Args:
        overlap: share of a patch that overlaps the next one, below 1; the last patch of a row or
            column ends where the image does, so it may overlap more. 0 gives the grid, if the
            patch size divides the image's.
    """
    stride = max(1, round(patch_size * (1 - overlap)))
    last = image_size - patch_size
    lines = np.append(np.arange(0, last, stride), last)
    return np.stack(np.meshgrid(lines, lines, indexing="ij"), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class PatchGrid:
    """The grid of non-overlapping square patches that covers an image.

    Raises:
        ConfigError: the patch does not divide both sides of the image.
    """

    image_height: int
    """In px."""

    image_width: int
    """In px."""

    patch_size: int
    """Side of a patch in px."""

    def __post_init__(self) -> None:
        for name in ("image_height", "image_width", "patch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1 px; raise it")
        for name in ("image_height", "image_width"):
            if getattr(self, name) % self.patch_size:
                raise ConfigError(
                    f"patch_size={self.patch_size} does not divide {name}={getattr(self, name)}; "
                    "use a patch size that divides both sides of the image"
                )

    @property
    def num_rows(self) -> int:
        """Patches from top to bottom (m)."""
        return self.image_height // self.patch_size

    @property
    def num_cols(self) -> int:
        """Patches from left to right (n)."""
        return self.image_width // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches in the image (mn)."""
        return self.num_rows * self.num_cols

    def extract(self, image: np.ndarray, positions: Positions) -> np.ndarray:
        """Return copies [k, p, p, C] of the patches of `image` [height, width, C].

        Raises:
            ValueError: the image has another size, or a position lies outside the grid.
        """
        rows, cols = self._rows_and_cols(positions)
        return self._as_grid(image)[rows, :, cols]

    def paste(self, patches: np.ndarray, positions: Positions, out: np.ndarray) -> None:
        """Write `patches` [k, p, p, C] into the image `out` [height, width, C], in place.

        Raises:
            ValueError: sizes do not match, or a position lies outside the grid.
        """
        rows, cols = self._rows_and_cols(positions)
        wanted = (len(rows), self.patch_size, self.patch_size, out.shape[-1])
        if patches.shape != wanted:
            raise ValueError(f"patches have shape {patches.shape}, not {wanted}")
        self._as_grid(out)[rows, :, cols] = patches

    def sample(self, k: int, generator: torch.Generator) -> torch.Tensor:
        """Return k distinct positions [k] (int64, CPU), drawn uniformly by the CPU `generator`.

        Raises:
            ValueError: k is not in 1..mn.
        """
        if not 1 <= k <= self.num_patches:
            raise ValueError(f"k={k} positions cannot be drawn from {self.num_patches} patches")
        return torch.randperm(self.num_patches, generator=generator)[:k]

    def _as_grid(self, image: np.ndarray) -> np.ndarray:
        """Return a view [m, p, n, p, C] of the image [height, width, C]."""
        if image.ndim != 3 or image.shape[:2] != (self.image_height, self.image_width):
            raise ValueError(
                f"an array of shape {image.shape} is not an image of "
                f"{self.image_height} x {self.image_width} px with channels last"
            )
        # splitting axes never copies, whatever the strides: `paste` reaches the image itself
        shape = (self.num_rows, self.patch_size, self.num_cols, self.patch_size, image.shape[2])
        return image.reshape(shape)

    def _rows_and_cols(self, positions: Positions) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.asarray(positions, dtype=np.int64)
        outside = (numbers < 0) | (numbers >= self.num_patches)
        if outside.any():
            raise ValueError(
                f"position {numbers[outside][0]} is outside the grid of {self.num_patches} patches"
            )
        return np.divmod(numbers, self.num_cols)
