"""What kernels take for themselves, by hand; `test_predict_on_stub` compares whole trials."""

from __future__ import annotations

import pytest
import torch

from patchtrain.estimation.scratch import scratch_of

ATEN = torch.ops.aten
PLANAR = torch.zeros(3, 64, 18, 18)
TOGETHER = PLANAR.contiguous(memory_format=torch.channels_last)
SCALE = torch.ones(64)
COPY = PLANAR.numel() * 4
BY_CHANNEL, BY_GROUP = 3 * 64 * 4, 3 * 32 * 4


def group_norm(pixels):
    return ATEN.native_group_norm.default, (pixels, SCALE, SCALE, 3, 64, 18 * 18, 32, 1e-5)


def group_norm_backward(gradient, pixels):
    sizes = (3, 64, 18 * 18, 32, [True] * 3)
    return ATEN.native_group_norm_backward.default, (gradient, pixels, None, None, SCALE, *sizes)


def convolution(pixels, weight):
    return ATEN.convolution.default, (pixels, weight, None)


def convolution_backward(gradient, pixels, weight):
    sizes = ([8], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    return ATEN.convolution_backward.default, (gradient, pixels, weight, *sizes)


WEIGHT = torch.zeros(8, 64, 3, 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (group_norm(PLANAR), [BY_CHANNEL] * 2),
        (group_norm(TOGETHER), [COPY, *[BY_CHANNEL] * 2]),
        (group_norm_backward(PLANAR, PLANAR), [*[BY_CHANNEL] * 3, *[BY_GROUP] * 2]),
        (group_norm_backward(TOGETHER, TOGETHER), [COPY] * 2 + [BY_CHANNEL] * 3 + [BY_GROUP] * 2),
        (convolution(PLANAR, WEIGHT), []),
        (convolution(TOGETHER, WEIGHT), [WEIGHT.numel() * 4]),
        (convolution_backward(PLANAR, TOGETHER, WEIGHT), [COPY, WEIGHT.numel() * 4]),
        ((ATEN.relu.default, (PLANAR,)), []),
    ],
)
def test_copies_and_statistics_are_listed(call, expected):
    assert scratch_of(*call, {}) == expected
