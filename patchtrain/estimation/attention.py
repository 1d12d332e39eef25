"""`attend`: attention as torch composes it on CUDA, and the memory that CUDA's kernels for it take.

torch takes FlashAttention for 16 bits without a mask, memory-efficient attention for the rest that
it fits, and else matrix products. Rules and blocks are those of torch's `ATen/native/transformers`
(torch 2.11 to 2.15) on GPUs from compute capability 8.0 on. cuDNN has an attention too, of whose
memory nothing is known; trials do without it, see `memory.cuda`.

Shapes: B inputs, H heads, N queries, M keys, D features of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchtrain.estimation.rounding import divide_up, round_up
from patchtrain.estimation.versions import BEFORE_2_14

_ATEN = torch.ops.aten
_FP32_BYTES = 4
_INT64_BYTES = 8
HALVES = (torch.float16, torch.bfloat16)
_NUM_PROCESSORS = (28, 38, 46, 58, 72, 80, 84, 108, 114, 128, 132, 142, 148, 170, 188)
"""Of GPUs from an RTX 3060 to a B200; the trial may run on any of them."""
_MOST_FEATURES_OF_FLASH = 256
_MOST_FEATURES_IN_REGISTERS = 128
_FEATURES_AT_ONCE = 8
"""FlashAttention, and any kernel in 16 bits, takes the features of a head by so many."""
_SHIFTS_AT_ONCE = 8
"""Rows of a mask start at multiples of so many values."""


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return [B, H, N, D]: `scaled_dot_product_attention`, of the operations that it is made of on
    CUDA.
    """
    inputs = (queries, keys, values)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.where(attn_mask, 0.0, torch.empty((), dtype=queries.dtype))
    if attn_mask is None and _fits_flash(inputs, is_causal):
        return _flash(inputs, dropout_p, is_causal, scale)
    if _fits_efficient(inputs):
        is_trained = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
        if attn_mask is not None:
            attn_mask = _aligned(attn_mask, queries, keys)
        return _ATEN._scaled_dot_product_efficient_attention(
            *inputs, attn_mask, is_trained, dropout_p, is_causal, scale=scale
        )[0]
    return _ATEN._scaled_dot_product_attention_math(
        *inputs, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
    )[0]


def _fits_flash(inputs: Sequence[Tensor], is_causal: bool) -> bool:
    queries, keys, values = inputs
    return (
        _fits_any_kernel(inputs)
        and queries.dtype in HALVES
        and queries.shape[-1] == values.shape[-1] <= _MOST_FEATURES_OF_FLASH
        and not (is_causal and queries.shape[2] != keys.shape[2])
    )


def _fits_efficient(inputs: Sequence[Tensor]) -> bool:
    queries, keys, values = inputs
    at_once = _FEATURES_AT_ONCE if queries.dtype in HALVES else _FEATURES_AT_ONCE // 2
    return (
        _fits_any_kernel(inputs)
        and queries.dtype in (*HALVES, torch.float32)
        and queries.shape[1] == keys.shape[1] == values.shape[1]
        and not any(each.shape[-1] % at_once for each in inputs)
    )


def _fits_any_kernel(inputs: Sequence[Tensor]) -> bool:
    queries, keys, values = inputs
    return (
        all(each.dim() == 4 and each.numel() and each.stride(-1) == 1 for each in inputs)
        and queries.shape[0] == keys.shape[0] == values.shape[0]
        and queries.shape[-1] == keys.shape[-1]
    )


def _flash(
    inputs: Sequence[Tensor], dropout_p: float, is_causal: bool, scale: float | None
) -> Tensor:
    num_features = inputs[0].shape[-1]
    missing = -num_features % _FEATURES_AT_ONCE
    if missing:
        inputs = [functional.pad(each, (0, missing)) for each in inputs]
    scale = num_features**-0.5 if scale is None else scale
    outputs = _ATEN._scaled_dot_product_flash_attention(
        *inputs, dropout_p, is_causal, False, scale=scale
    )[0]
    return outputs[..., :num_features] if missing else outputs


def _aligned(mask: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Return `mask` for each head [B, H, N, M], copied if its rows do not start as they must."""
    starts = mask.stride()[:-1]
    if mask.stride(-1) != 1 or any(start % _SHIFTS_AT_ONCE for start in starts):
        num = mask.shape[-1]
        mask = functional.pad(mask, (0, _SHIFTS_AT_ONCE - num % _SHIFTS_AT_ONCE))[..., :num]
    return mask.expand(*queries.shape[:3], keys.shape[2])


def flash_results(results: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the `results` of FlashAttention without content, with the two numbers that its dropout
    starts from; they are kept for the backward pass, without dropout too.
    """
    return *results[:6], *_two_numbers(1), *results[8:]


def efficient_results(results: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the same for memory-efficient attention; with dropout its numbers are on the host."""
    return *results[:2], *_two_numbers(int(_keeps_numbers(*args)))


def _keeps_numbers(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    is_trained: bool,
    dropout_p: float = 0.0,
    *_: Any,
) -> bool:
    return not BEFORE_2_14 and dropout_p == 0


def _two_numbers(num_values: int) -> list[Tensor]:
    return [torch.empty(num_values, dtype=torch.int64) for _ in range(2)]


def flash_scratch(
    queries: Tensor, keys: Tensor, values: Tensor, dropout_p: float = 0.0, *_: Any, **__: Any
) -> list[int]:
    """Return the sizes of the blocks that FlashAttention takes while it computes the outputs."""
    if dropout_p > 0:
        return [_INT64_BYTES]
    num, heads, length, features = queries.shape
    columns = 256 if features <= 64 else 128 if features <= 128 else 64
    by_rows, by_columns = num * heads * divide_up(length, 64), divide_up(keys.shape[2], columns)
    num_splits = max(_splits(by_rows, by_columns, 2 * number) for number in _NUM_PROCESSORS)
    if num_splits == 1:
        return []
    rows = _FP32_BYTES * num_splits * num * heads * length
    return [rows, rows * round_up(features, 32)]


def flash_backward_scratch(
    gradient: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    outputs: Tensor,
    *_: Any,
    **__: Any,
) -> list[int]:
    """Return the sizes of the blocks that FlashAttention takes while it computes the gradients."""
    num, heads, length, features = queries.shape
    rows = _FP32_BYTES * num * heads * round_up(length, 128)
    return [*_copies_by_token(gradient, outputs), rows, rows * round_up(features, 32)]


def efficient_scratch(
    queries: Tensor, keys: Tensor, values: Tensor, *_: Any, **__: Any
) -> list[int]:
    """Return the sizes of the blocks that memory-efficient attention takes while it computes the
    outputs.
    """
    fits_registers = values.shape[-1] <= _MOST_FEATURES_IN_REGISTERS
    if queries.dtype == torch.float32 or fits_registers:
        return []
    return [_FP32_BYTES * math.prod(queries.shape[:3]) * values.shape[-1]]


def efficient_backward_scratch(
    gradient: Tensor, queries: Tensor, keys: Tensor, values: Tensor, *_: Any, **__: Any
) -> list[int]:
    """Return the sizes of the blocks that memory-efficient attention takes while it computes the
    gradients.
    """
    num_rows = math.prod(queries.shape[:3])
    by_row = _FP32_BYTES * num_rows
    own = math.prod(queries.shape[:2]) * _by_head(queries, keys, values)
    copies = _copies_by_token(gradient)
    if queries.dtype in HALVES:
        return [*copies, by_row, own]
    product = _FP32_BYTES * num_rows * values.shape[-1]
    # the product is gone when the kernel starts
    return [*copies, by_row, max(own, product + by_row)]


def _by_head(queries: Tensor, keys: Tensor, values: Tensor) -> int:
    """Return the bytes in which gradients of a head add up before they are written."""
    num, heads, length, features = queries.shape
    is_half = queries.dtype in HALVES
    fits_registers = features <= _MOST_FEATURES_IN_REGISTERS
    rows = 64 if features <= 64 else 128
    columns = 128 if is_half and features > 64 and fits_registers else 64
    num_blocks = divide_up(length, rows) * divide_up(features, columns)
    of_queries = num_blocks * (_FP32_BYTES * rows * columns + 16)
    if not is_half or fits_registers:
        return of_queries
    num_splits = max(1, min(divide_up(keys.shape[2], 64), 200 // (num * heads)))
    width = round_up(features, rows) + round_up(values.shape[-1], rows)
    return of_queries + num_splits * _FP32_BYTES * 64 * width


def _copies_by_token(*tensors: Tensor) -> list[int]:
    """Return the bytes of the copies of [B, H, N, D] that do not lie token by token."""
    other = [each for each in tensors if not each.transpose(1, 2).is_contiguous()]
    return [each.numel() * each.element_size() for each in other]


def _splits(num_row_blocks: int, num_column_blocks: int, slots: int) -> int:
    """Return over how many kernels the keys of a row are split: the fewest that keep the `slots` of
    a GPU nearly as busy as the best number would.
    """
    if num_row_blocks >= 0.8 * slots:
        return 1
    busy = {}
    for splits in range(1, min(128, slots, num_column_blocks) + 1):
        per_split = divide_up(num_column_blocks, splits)
        if splits > 1 and per_split == divide_up(num_column_blocks, splits - 1):
            continue
        waves = num_row_blocks * splits / slots
        busy[splits] = waves / math.ceil(waves)
    best = max(busy.values())
    return next(splits for splits, share in busy.items() if share >= 0.85 * best)
