from __future__ import annotations

import torch

from patchtrain.grid.fusion import fuse

LATENT = torch.randn(2, 3, 4, 5)
GLOBAL = torch.randn(2, 3, 1, 1)


def test_add_puts_the_global_feature_on_every_cell():
    fused = fuse(LATENT, GLOBAL, "add")
    assert torch.equal(fused[1, :, 2, 3], LATENT[1, :, 2, 3] + GLOBAL[1, :, 0, 0])
    assert fused.shape == LATENT.shape


def test_concat_keeps_both_as_channels():
    fused = fuse(LATENT, GLOBAL, "concat")
    assert fused.shape == (2, 6, 4, 5)
    assert torch.equal(fused[:, :3], LATENT)
    assert torch.equal(fused[0, 3:, 1, 4], GLOBAL[0, :, 0, 0])
