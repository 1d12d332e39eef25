from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from patchtrain.resizing import enlargement


@pytest.mark.parametrize(("small", "large"), [(4, 16), (32, 128), (3, 10), (128, 512), (5, 5)])
def test_enlargement_is_torchs_bilinear_interpolation(small, large):
    picture = torch.randn(1, 2, small, small)
    weights = torch.from_numpy(enlargement(small, large))
    expected = functional.interpolate(picture, size=(large, large), mode="bilinear")
    torch.testing.assert_close(weights @ picture @ weights.T, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(large))
