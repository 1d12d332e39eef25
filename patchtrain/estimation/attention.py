"""Memory of CUDA's fused attention kernels: what they save for the backward pass, and what they use
internally.

In fp32, or with a mask, torch chooses its memory-efficient kernels; in 16 bits those of
FlashAttention. Blocks are those of torch's `ATen/native/transformers/cuda` (torch 2.11 to 2.15) on
GPUs from compute capability 8.0 on.

Shapes: B inputs, H heads, N queries, M keys, D features of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from patchtrain.memory.meter import BLOCK_BYTES, rounded

_FP32_BYTES = 4
_ALWAYS_KEEPS_NUMBERS = torch.__version__ >= "2.14"
_NUM_PROCESSORS = (28, 38, 46, 58, 72, 80, 84, 108, 114, 128, 132, 142, 148, 170, 188)
"""Of GPUs from an RTX 3060 to a B200; the trial may run on any of them."""


def kept_bytes(queries: Tensor, mask: Tensor | None) -> int:
    """Return the bytes of the sums that attention on `queries` [B, H, N, D] keeps, and of the two
    numbers that its dropout would be drawn with, each rounded up to a block.
    """
    num, heads, length = queries.shape[:3]
    is_flash = _is_flash(queries, mask)
    rows = length if is_flash else _up(length, 32)
    num_numbers = 2 if is_flash or _ALWAYS_KEEPS_NUMBERS else 0
    return rounded(_FP32_BYTES * num * heads * rows) + num_numbers * BLOCK_BYTES


def forward_scratch(queries: Tensor, keys: Tensor, mask: Tensor | None) -> list[int]:
    """Return the sizes of the blocks that the kernel takes while it computes the outputs."""
    num, heads, length, features = queries.shape
    if not _is_flash(queries, mask):
        return []
    columns = 256 if features <= 64 else 128 if features <= 128 else 64
    by_rows, by_columns = num * heads * _blocks(length, 64), _blocks(keys.shape[2], columns)
    num_splits = max(_splits(by_rows, by_columns, 2 * number) for number in _NUM_PROCESSORS)
    if num_splits == 1:
        return []
    rows = _FP32_BYTES * num_splits * num * heads * length
    return [rows, rows * _up(features, 32)]


def backward_scratch(gradient: Tensor, queries: Tensor, mask: Tensor | None) -> list[int]:
    """Return the sizes of the blocks that the kernel takes while it computes the gradients."""
    num, heads, length, features = queries.shape
    num_rows = num * heads
    is_flash = _is_flash(queries, mask)
    # flash gives its outputs as its queries lie, and reads gradient and outputs token by token
    copied = [gradient, torch.empty_like(queries)] if is_flash else [gradient]
    size = gradient.numel() * gradient.element_size()
    copies = [size for each in copied if not each.transpose(1, 2).is_contiguous()]
    if is_flash:
        rows = _FP32_BYTES * num_rows * _up(length, 128)
        return [*copies, rows, rows * _up(features, 32)]
    by_row = _FP32_BYTES * num_rows * length
    block, width = (64, 64) if features <= 64 else (128, _up(features, 128))
    rows = _up(length, block)
    own = num_rows * (_FP32_BYTES * rows * width + 16 * _blocks(rows, 64))
    product = queries.numel() * _FP32_BYTES
    # the product is gone when the kernel starts
    return [*copies, by_row, max(own, product + by_row)]


def _is_flash(queries: Tensor, mask: Tensor | None) -> bool:
    return mask is None and queries.dtype in (torch.float16, torch.bfloat16)


def _splits(num_row_blocks: int, num_column_blocks: int, slots: int) -> int:
    """Return over how many kernels the keys of a row are split: the fewest that keep the `slots` of
    a GPU nearly as busy as the best number would.
    """
    if num_row_blocks >= 0.8 * slots:
        return 1
    busy = {}
    for splits in range(1, min(128, slots, num_column_blocks) + 1):
        per_split = _blocks(num_column_blocks, splits)
        if splits > 1 and per_split == _blocks(num_column_blocks, splits - 1):
            continue
        waves = num_row_blocks * splits / slots
        busy[splits] = waves / math.ceil(waves)
    best = max(busy.values())
    return next(splits for splits, share in busy.items() if share >= 0.85 * best)


def _blocks(number: int, of: int) -> int:
    return -(-number // of)


def _up(number: int, to: int) -> int:
    return _blocks(number, to) * to
