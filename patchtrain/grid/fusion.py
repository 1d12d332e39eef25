"""`Fusion`: how the features of the global patch join the latent block (paper, III-A and III-C).

Shapes: N maps, d features, h w their size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Makes the joint representation Z_g of Z and g.

    Args:
        kind: `add`: Z + g, [N, d, h, w] (the paper's for classification); `concat`: channels
            [Z, g], [N, 2d, h, w] (the paper's for segmentation).
        num_features: d.
        scale: if given, g is multiplied by one number per channel, which is learned and starts as
            this.
    """

    def __init__(self, kind: str, num_features: int, scale: float | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.scale = None if scale is None else nn.Parameter(torch.full((num_features,), scale))

    def forward(self, latent: Tensor, global_features: Tensor) -> Tensor:
        """Return Z_g of `latent` [N, d, h, w] and `global_features` of the same shape or one that
        expands to it, as [N, d, 1, 1] does.
        """
        everywhere = global_features.to(latent.dtype)
        everywhere = self.scaled(everywhere.movedim(1, -1)).movedim(-1, 1)
        if self.kind == "add":
            return latent + everywhere
        return torch.cat([latent, everywhere.expand_as(latent)], dim=1)

    def scaled(self, cells: Tensor) -> Tensor:
        """Return the global features `cells` [..., d] times their scale, if they have one."""
        return cells if self.scale is None else cells * self.scale.to(cells.dtype)
