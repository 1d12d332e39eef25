"""Fusion: how the feature of the global patch joins the latent block (paper, III-A).

Shapes: B batch, d features, m n grid.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fuse(latent: Tensor, global_feature: Tensor, fusion: str) -> Tensor:
    """Return the joint representation Z_g of `latent` [B, d, m, n] and `global_feature` [B, d].

    Args:
        fusion: `add`: Z + g, [B, d, m, n] (the paper's for classification); `concat`: channels
            [Z, g], [B, 2d, m, n].
    """
    everywhere = global_feature.to(latent.dtype)[:, :, None, None]
    if fusion == "add":
        return latent + everywhere
    return torch.cat([latent, everywhere.expand_as(latent)], dim=1)
