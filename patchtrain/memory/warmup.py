"""Has CUDA and its libraries load what a trial will need, so that it can be measured.

cuDNN, cuBLAS and torch load kernels and make handles when they are first used, outside of torch's
allocator. Knows nothing of budgets and of how memory is measured.
"""

from __future__ import annotations

from contextlib import suppress

import torch
from torch.nn import functional

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Precision of a trial -> type of the numbers that convolutions and matrix products get."""

_LAYOUTS = (torch.contiguous_format, torch.channels_last)


def warm_up(device: torch.device, precision: str) -> None:
    """Run convolutions and matrix products, forward and backward, in fp32 and in `precision`.

    What fails here is left out: the trial will meet it again, and say what it was doing.
    """
    for dtype in dict.fromkeys((torch.float32, DTYPES[precision])):
        for layout in _LAYOUTS:
            with suppress(RuntimeError):
                _convolve(device, dtype, layout)
        with suppress(RuntimeError):
            _multiply(device, dtype)
    with suppress(RuntimeError):
        torch.cuda.synchronize(device)


def _convolve(device: torch.device, dtype: torch.dtype, layout: torch.memory_format) -> None:
    pixels = torch.zeros(2, 16, 32, 32, device=device, dtype=dtype)
    pixels = pixels.contiguous(memory_format=layout).requires_grad_()
    for side in (1, 3):
        weight = torch.zeros(16, 16, side, side, device=device, dtype=dtype)
        weight = weight.contiguous(memory_format=layout).requires_grad_()
        result = functional.conv2d(pixels, weight, padding=side // 2)
        scale = torch.ones(16, device=device)
        result = functional.batch_norm(result, None, None, scale, scale, training=True)
        functional.relu(result).float().mean().backward()


def _multiply(device: torch.device, dtype: torch.dtype) -> None:
    rows = torch.zeros(64, 64, device=device, dtype=dtype, requires_grad=True)
    shift = torch.zeros(64, device=device, dtype=dtype)
    functional.linear(rows, rows, shift).float().log_softmax(1).mean().backward()
