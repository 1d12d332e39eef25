"""`scratch_of`: what CUDA's kernels take for themselves while they run.

torch's allocator serves it like tensors, but no operation returns it, so a meter does not see it.
Here are copies of inputs in another layout or type, statistics of norms, and partial sums; the
workspace of libraries is measured, see `memory.facts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from patchtrain.estimation.attention import (
    efficient_backward_scratch,
    efficient_scratch,
    flash_backward_scratch,
    flash_scratch,
)
from patchtrain.estimation.kernels import normed_by_cudnn
from patchtrain.estimation.reductions import partial_sums
from patchtrain.estimation.rounding import divide_up, round_up
from patchtrain.estimation.versions import BEFORE_2_14

_ATEN = torch.ops.aten
_PLANAR, _TOGETHER = torch.contiguous_format, torch.channels_last
_FP32_BYTES = 4
_INT64_BYTES = 8


def scratch_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
    """Return the sizes in bytes of the blocks that the kernel of `func` takes for itself."""
    rule = _RULES.get(func)
    return [] if rule is None else rule(*args, **kwargs)


def scratch_of_bias(gradient: Tensor, *_: Any) -> list[int]:
    """Return the sizes of the blocks in which a convolution sums up the gradient of its bias."""
    return partial_sums(gradient, [0, *range(2, gradient.dim())])


def _copies(*tensors: Tensor, layout: torch.memory_format = _PLANAR) -> list[int]:
    """Return the bytes of each copy in `layout` that a kernel makes of other inputs."""
    other = [tensor for tensor in tensors if not tensor.is_contiguous(memory_format=layout)]
    return [tensor.numel() * tensor.element_size() for tensor in other]


def _first(values: Tensor, *_: Any, **__: Any) -> list[int]:
    return _copies(values)


def _first_two(first: Tensor, second: Tensor, *_: Any, **__: Any) -> list[int]:
    return _copies(first, second)


def _convolution(pixels: Tensor, weight: Tensor, *_: Any) -> list[int]:
    return _copies(pixels, weight, layout=_layout(pixels, weight))


def _convolution_backward(gradient: Tensor, pixels: Tensor, weight: Tensor, *_: Any) -> list[int]:
    return _copies(gradient, pixels, weight, layout=_layout(pixels, weight))


def _layout(pixels: Tensor, weight: Tensor) -> torch.memory_format:
    """Return the layout in which cuDNN convolves: channels together if either input has them so."""
    layouts = [suggest_memory_format(tensor) for tensor in (pixels, weight) if tensor.dim() == 4]
    return _TOGETHER if _TOGETHER in layouts else _PLANAR


def _batch_norm_backward(
    gradient: Tensor,
    pixels: Tensor,
    weight: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    saved_mean: Tensor,
    saved_deviation: Tensor,
    training: bool,
    epsilon: float,
    wanted: Sequence[bool],
) -> list[int]:
    if training and normed_by_cudnn(pixels, weight):
        return _copies(gradient, layout=_layout(pixels, pixels))
    by_channel = _FP32_BYTES * pixels.shape[1]
    by_rows = _lies_by_rows(pixels)
    sums_up = training or wanted[1] or wanted[2]
    if sums_up and wanted[0] and not by_rows:
        return []  # one kernel for everything
    deviations = [] if saved_deviation.numel() else [by_channel]
    sums = 2 * [by_channel] if sums_up and by_rows else []
    gradient_by_rows = _lies_by_rows(gradient)
    lie_apart = by_rows and not gradient_by_rows
    one = [_FP32_BYTES] if weight is None and wanted[0] and lie_apart else []
    return deviations + (sums if wanted[0] or gradient_by_rows else []) + one


def _lies_by_rows(pixels: Tensor) -> bool:
    """Whether the channels of each place lie side by side."""
    if pixels.dim() == 4 and pixels.is_contiguous(memory_format=_TOGETHER):
        return True
    return pixels.is_contiguous() and pixels.stride(1) == 1


def _max_pool_backward(gradient: Tensor, pixels: Tensor, *rest: Any) -> list[int]:
    return _copies(gradient, rest[-1], layout=suggest_memory_format(pixels))


def _group_norm(
    pixels: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    num_images: int,
    num_channels: int,
    num_places: int,
    *_: Any,
) -> list[int]:
    has_factors = num_places > 1 and not (weight is None and bias is None)
    # scale and shift of each channel of each image
    factors = 2 * [_FP32_BYTES * num_images * num_channels] if has_factors else []
    return _copies(pixels) + factors


def _group_norm_backward(
    gradient: Tensor,
    pixels: Tensor,
    mean: Tensor,
    deviation: Tensor,
    weight: Tensor | None,
    num_images: int,
    num_channels: int,
    num_places: int,
    num_groups: int,
    wanted: Sequence[bool],
) -> list[int]:
    # two sums and a factor for each channel of each image, two factors for each group
    num_by_channel = 2 if weight is None else 3
    if num_places == 1:
        num_by_channel = 2 if BEFORE_2_14 else 0
    by_channel = _FP32_BYTES * num_images * num_channels
    by_group = _FP32_BYTES * num_images * num_groups
    return _copies(gradient, pixels) + num_by_channel * [by_channel] + 2 * [by_group]


def _softmax_backward(gradient: Tensor, outputs: Tensor, *_: Any) -> list[int]:
    product = outputs.numel() * max(gradient.element_size(), outputs.element_size())
    # the product lies like the gradient
    copies = [] if gradient.is_contiguous() else [product]
    return [product, *copies, *_copies(outputs)]


def _safe_softmax(values: Tensor, dim: int, *_: Any, **__: Any) -> list[int]:
    # which values are masked, which rows are wholly masked, and a zero
    return [values.numel(), values.numel() // values.shape[dim], _FP32_BYTES]


def _cumulated(values: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> list[int]:
    dtype = dtype or values.dtype
    num_copies = (dtype != values.dtype) + (not values.is_contiguous())
    return num_copies * [values.numel() * dtype.itemsize]


def _sum(values: Tensor, dims: Sequence[int] | None = None, *_: Any, **__: Any) -> list[int]:
    is_narrow = not values.is_floating_point() and values.element_size() < _INT64_BYTES
    # whole numbers are added up as wide ones
    wide = [values.numel() * _INT64_BYTES] if is_narrow else []
    return wide + partial_sums(values, dims)


def _vector_norm(
    values: Tensor, order: float = 2, dims: Sequence[int] | None = None, *_: Any, **__: Any
) -> list[int]:
    return partial_sums(values, dims)


_SORTED_AT_ONCE = 2304


def _index_put(
    values: Tensor,
    indices: Sequence[Tensor | None],
    added: Tensor,
    accumulate: bool = False,
    *_: Any,
) -> list[int]:
    if not accumulate:
        return []
    # places that may repeat are sorted first
    shapes = [index.shape for index in indices if index is not None]
    num = math.prod(torch.broadcast_shapes(*shapes))
    return 4 * [_INT64_BYTES * num] + [_sorting_bytes(num)]


def _sorting_bytes(num: int) -> int:
    """Return the bytes in which CUB sorts `num` pairs of int64, on compute capability 8."""
    if num <= _SORTED_AT_ONCE:
        return 1
    pairs = 2 * round_up(_INT64_BYTES * num, 256)
    return pairs + 1024 * divide_up(num, 3840) + 4607


_RULES: dict[Any, Callable[..., list[int]]] = {
    _ATEN._log_softmax.default: _first,
    _ATEN._log_softmax_backward_data.default: _first_two,
    _ATEN._safe_softmax.default: _safe_softmax,
    _ATEN._scaled_dot_product_efficient_attention.default: efficient_scratch,
    _ATEN._scaled_dot_product_efficient_attention_backward.default: efficient_backward_scratch,
    _ATEN._scaled_dot_product_flash_attention.default: flash_scratch,
    _ATEN._scaled_dot_product_flash_attention_backward.default: flash_backward_scratch,
    _ATEN._softmax.default: _first,
    _ATEN._softmax_backward_data.default: _softmax_backward,
    _ATEN.adaptive_max_pool2d.default: _first,
    _ATEN.adaptive_max_pool2d_backward.default: _first_two,
    _ATEN.convolution.default: _convolution,
    _ATEN.convolution_backward.default: _convolution_backward,
    _ATEN.cumprod.default: _cumulated,
    _ATEN.cumsum.default: _cumulated,
    _ATEN.index_put.default: _index_put,
    _ATEN.index_put_.default: _index_put,
    _ATEN.linalg_vector_norm.default: _vector_norm,
    _ATEN.max_pool2d_with_indices_backward.default: _max_pool_backward,
    _ATEN.mean.dim: _sum,
    _ATEN.native_batch_norm_backward.default: _batch_norm_backward,
    _ATEN.native_group_norm.default: _group_norm,
    _ATEN.native_group_norm_backward.default: _group_norm_backward,
    _ATEN.native_layer_norm.default: _first,
    _ATEN.native_layer_norm_backward.default: _first_two,
    _ATEN.reflection_pad2d.default: _first,
    _ATEN.roll.default: _first,
    _ATEN.sum.default: _sum,
    _ATEN.sum.dim_IntList: _sum,
    _ATEN.upsample_bicubic2d_backward.default: _first,
}
