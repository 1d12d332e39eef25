from __future__ import annotations

import pytest
import torch

from patchtrain.grid.fusion import Fusion

LATENT = torch.randn(2, 3, 4, 5)
GLOBAL = torch.randn(2, 3, 1, 1)


def test_add_puts_the_global_feature_on_every_cell():
    fused = Fusion("add", 3)(LATENT, GLOBAL)
    assert torch.equal(fused[1, :, 2, 3], LATENT[1, :, 2, 3] + GLOBAL[1, :, 0, 0])
    assert fused.shape == LATENT.shape


def test_concat_keeps_both_as_channels():
    fused = Fusion("concat", 3)(LATENT, GLOBAL)
    assert fused.shape == (2, 6, 4, 5)
    assert torch.equal(fused[:, :3], LATENT)
    assert torch.equal(fused[0, 3:, 1, 4], GLOBAL[0, :, 0, 0])


@pytest.mark.parametrize("kind", ["add", "concat"])
def test_without_a_scale_there_is_nothing_to_learn(kind):
    assert not list(Fusion(kind, 3).parameters())


def test_a_scale_multiplies_each_channel_and_is_learned_from_its_start():
    fusion = Fusion("add", 3, scale=0.0)
    assert torch.equal(fusion(LATENT, GLOBAL), LATENT)
    fusion(LATENT, GLOBAL).sum().backward()
    torch.testing.assert_close(fusion.scale.grad, GLOBAL.sum(dim=(0, 2, 3)) * 20)
    with torch.no_grad():
        fusion.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
    scaled = fusion(LATENT, GLOBAL) - LATENT
    torch.testing.assert_close(scaled[:, 2, 0, 0], 3 * GLOBAL[:, 2, 0, 0])
    torch.testing.assert_close(fusion.scaled(GLOBAL[:, :, 0, 0])[:, 1], 2 * GLOBAL[:, 1, 0, 0])


def test_a_scale_keeps_16_bits():
    latent, whole = LATENT.bfloat16(), GLOBAL.bfloat16()
    assert Fusion("concat", 3, scale=0.5)(latent, whole).dtype == torch.bfloat16
