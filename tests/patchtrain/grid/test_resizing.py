from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from patchtrain.grid.resizing import enlargement, enlargement_of_cells


@pytest.mark.parametrize(("small", "large"), [(4, 16), (32, 128), (3, 10), (128, 512), (5, 5)])
def test_enlargement_is_torchs_bilinear_interpolation(small, large):
    picture = torch.randn(1, 2, small, small)
    weights = torch.from_numpy(enlargement(small, large))
    expected = functional.interpolate(picture, size=(large, large), mode="bilinear")
    torch.testing.assert_close(weights @ picture @ weights.T, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(large))


@pytest.mark.parametrize(("cells", "times", "stride"), [(4, 4, 8), (1, 2, 64), (16, 8, 8)])
def test_cells_are_enlarged_to_where_their_pixels_lie(cells, times, stride):
    weights = enlargement_of_cells(cells, times, stride)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    # a map whose values are the places of its cells in the large image
    places = (np.arange(cells) * stride + 0.5) * times - 0.5
    large = np.arange(cells * times) * stride
    inside = (large >= places[0]) & (large <= places[-1])
    np.testing.assert_allclose((weights @ places)[inside], large[inside], atol=1e-2)
