"""Fusion: how the features of the global patch join the latent block (paper, III-A and III-C).

Shapes: N maps, d features, h w their size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fuse(latent: Tensor, global_features: Tensor, fusion: str) -> Tensor:
    """Return the joint representation Z_g of `latent` [N, d, h, w] and `global_features` of the
    same shape or one that expands to it, as [N, d, 1, 1] does.

    Args:
        fusion: `add`: Z + g, [N, d, h, w] (the paper's for classification); `concat`: channels
            [Z, g], [N, 2d, h, w] (the paper's for segmentation).
    """
    everywhere = global_features.to(latent.dtype)
    if fusion == "add":
        return latent + everywhere
    return torch.cat([latent, everywhere.expand_as(latent)], dim=1)
