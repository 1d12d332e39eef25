"""What a reduction takes besides its result, against torch's own on the stub device."""

from __future__ import annotations

import pytest
import torch

from patchtrain.estimation import reductions
from patchtrain.estimation.reductions import partial_sums
from patchtrain.memory.meter import rounded

CASES = [
    ((16384, 384), (0,), False),
    ((16384, 384), (1,), False),
    ((16, 160, 32, 32), (0, 2, 3), False),
    ((16, 160, 32, 32), (0, 2, 3), True),
    ((16, 160, 32, 32), (2, 3), False),
    ((16, 160, 32, 32), (2, 3), True),
    ((16, 32, 32, 160), (1, 2), False),
    ((4, 3, 17, 19), (0, 2, 3), False),
    ((64, 8, 130, 130), (0, 2, 3), False),
    ((64, 8, 130, 130), (0, 2, 3), True),
    ((1000003,), None, False),
    ((1 << 22,), None, False),
    ((8, 1, 512, 512), None, False),
    ((2, 7), (0,), False),
    ((300000, 6), (0,), False),
    ((300000, 7), (0,), False),
    ((50, 3, 224, 224), (0, 2, 3), True),
]


def made(shape, together, dtype, device):
    values = torch.empty(shape, dtype=dtype, device=device)
    return values.contiguous(memory_format=torch.channels_last) if together else values


def taken_on_cuda(dtype):
    found = []
    for shape, dims, together in CASES:
        values = made(shape, together, getattr(torch, dtype), "cuda")
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        kept = values.sum(dtype=torch.float32) if dims is None else values.sum(
            dims, dtype=torch.float32
        )  # fmt: skip
        peak, after = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
        found.append(peak - max(before, after))
        del kept
    return found


@pytest.mark.cuda_stub
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_partial_sums_are_those_of_torch(stub, monkeypatch, dtype):
    monkeypatch.setattr(reductions, "_NUM_PROCESSORS", 108)  # as the stub has
    expected = stub.run(taken_on_cuda, dtype)
    found = [
        sum(map(rounded, partial_sums(made(shape, together, getattr(torch, dtype), "meta"), dims)))
        for shape, dims, together in CASES
    ]
    assert dict(zip(map(str, CASES), found, strict=True)) == dict(
        zip(map(str, CASES), expected, strict=True)
    )
    assert sum(size > 2**20 for size in expected) >= 3
