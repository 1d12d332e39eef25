from __future__ import annotations

import pytest
import torch

from patchtrain.grid.latent import LatentBlock


def block(batch: int = 2, rows: int = 2, cols: int = 3, features: int = 4) -> LatentBlock:
    values = torch.arange(batch * rows * cols * features, dtype=torch.float32)
    return LatentBlock(values.view(batch, rows * cols, features), rows, cols)


def test_cells_lie_row_by_row_on_the_map():
    latent = block()
    grid = latent.on_grid()
    assert grid.shape == (2, 4, 2, 3)
    assert torch.equal(grid[1, :, 1, 2], torch.arange(44.0, 48.0))


def test_replaced_rows_carry_gradient_and_the_others_their_values():
    latent = block()
    new = torch.full((2, 1, 4), -1.0, requires_grad=True)
    latent.replace(torch.tensor([[0], [5]]), new)
    grid = latent.on_grid()
    assert (grid[0, :, 0, 0] == -1).all()
    assert (grid[1, :, 1, 2] == -1).all()
    assert torch.equal(grid[0, :, 1, 2], torch.arange(20.0, 24.0))
    grid.sum().backward()
    assert torch.equal(new.grad, torch.ones_like(new))


def test_detached_values_stay_and_their_gradient_goes():
    latent = block()
    latent.replace(torch.tensor([[0], [0]]), torch.ones(2, 1, 4, requires_grad=True))
    latent.detach()
    assert not latent.on_grid().requires_grad
    assert (latent.on_grid()[0, :, 0, 0] == 1).all()


def test_features_take_the_blocks_precision():
    latent = LatentBlock(torch.zeros(1, 4, 2, dtype=torch.bfloat16), 2, 2)
    latent.replace(torch.tensor([[1]]), torch.ones(1, 1, 2))
    assert latent.on_grid().dtype == torch.bfloat16


def test_features_must_fill_the_grid():
    with pytest.raises(ValueError, match="5 features do not fill a 2 x 3 grid"):
        LatentBlock(torch.zeros(1, 5, 2), 2, 3)
