"""`LatentBlock`: the features Z of all patches of a batch of images, laid out on the grid.

Knows nothing of the networks that fill and read it.

Shapes: B batch, m n grid, k sampled; F features of a patch: d numbers, or d x p x p in maps.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LatentBlock:
    """Z of shape B x mn x F, row-major over the grid.

    Filled once per batch without gradient; then each inner iteration replaces the rows of the
    sampled patches: with features that have a gradient if Z is read as a whole (`replace`),
    otherwise with their values (`put`). Rows are replaced in place: there is no second Z.
    """

    def __init__(self, features: Tensor, num_rows: int, num_cols: int) -> None:
        """Args: features: [B, mn, F], without gradient."""
        if features.shape[1] != num_rows * num_cols:
            raise ValueError(
                f"{features.shape[1]} features do not fill a {num_rows} x {num_cols} grid"
            )
        self._features = features.detach()
        self._num_rows, self._num_cols = num_rows, num_cols
        self._image_index = torch.arange(features.shape[0], device=features.device)[:, None]

    @property
    def num_images(self) -> int:
        """B"""
        return len(self._features)

    def detach(self) -> None:
        """Forget the gradients of earlier replacements; the values stay."""
        self._features = self._features.detach()

    def replace(self, positions: Tensor, features: Tensor) -> None:
        """Put `features` [B, k, F] at `positions` [B, k] of the grid, with their gradient."""
        self._features = self._features.index_put_(
            (self._image_index, positions), features.to(self._features.dtype)
        )

    @torch.no_grad()
    def put(self, positions: Tensor, features: Tensor) -> None:
        """Put the values of `features` [B, k, F] at `positions` [B, k] of the grid."""
        self.replace(positions, features)

    @torch.no_grad()
    def put_of_image(self, image: int, positions: Tensor, features: Tensor) -> None:
        """Put the values of `features` [k, F] at `positions` [k] of one image's grid."""
        self._features[image, positions] = features.to(self._features.dtype)

    def rows(self, positions: Tensor) -> Tensor:
        """Return a copy of the features [B, k, F] at `positions` [B, k]."""
        return self._features[self._image_index, positions]

    def of_cells(self, image: int, cells: Tensor) -> Tensor:
        """Return a copy of the features [c, F] of one image at `cells` [c] of its grid."""
        return self._features[image].index_select(0, cells)

    def of_image(self, image: int) -> Tensor:
        """Return the features [mn, F] of one image."""
        return self._features[image]

    def on_grid(self) -> Tensor:
        """Return Z of vectors as the map [B, d, m, n] that aggregators read."""
        return self._features.unflatten(1, (self._num_rows, self._num_cols)).permute(0, 3, 1, 2)
