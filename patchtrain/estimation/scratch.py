"""`scratch_of`: what CUDA's kernels take for themselves while they run.

torch's allocator serves it like tensors, but no operation returns it, so a meter does not see it.
Here are copies of inputs in another layout, statistics of norms, and partial sums; the workspace of
libraries is measured, see `memory.facts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from patchtrain.estimation.reductions import partial_sums

_ATEN = torch.ops.aten
_FP32_BYTES = 4


def scratch_of(func: Any, args: Sequence[Any]) -> list[int]:
    """Return the sizes in bytes of the blocks that the kernel of `func` takes for itself."""
    rule = _RULES.get(func)
    return [] if rule is None else rule(args)


def _copies(*tensors: Tensor, layout: torch.memory_format = torch.contiguous_format) -> list[int]:
    """Return the bytes of each copy in `layout` that a kernel makes of other inputs."""
    other = [tensor for tensor in tensors if not tensor.is_contiguous(memory_format=layout)]
    return [tensor.numel() * tensor.element_size() for tensor in other]


def _convolution(args: Sequence[Any]) -> list[int]:
    pixels, weight = args[:2]
    return _copies(pixels, weight, layout=_layout(pixels, weight))


def _convolution_backward(args: Sequence[Any]) -> list[int]:
    gradient, pixels, weight = args[:3]
    copies = _copies(gradient, pixels, weight, layout=_layout(pixels, weight))
    wants_bias = args[-1][2]
    dims = [0, *range(2, gradient.dim())]
    return copies + (partial_sums(gradient, dims) if wants_bias else [])


def _layout(pixels: Tensor, weight: Tensor) -> torch.memory_format:
    """Return the layout in which cuDNN convolves: channels together if either input has them so."""
    together = torch.channels_last
    for tensor in (pixels, weight):
        lies_together = tensor.dim() == 4 and tensor.is_contiguous(memory_format=together)
        if lies_together and not tensor.is_contiguous():
            return together
    return torch.contiguous_format


def _group_norm(args: Sequence[Any]) -> list[int]:
    pixels, num_images, num_channels = args[0], args[3], args[4]
    # scale and shift of each channel of each image
    return _copies(pixels) + 2 * [_FP32_BYTES * num_images * num_channels]


def _group_norm_backward(args: Sequence[Any]) -> list[int]:
    gradient, pixels = args[:2]
    num_images, num_channels, _, num_groups = args[5:9]
    # two sums and a factor for each channel of each image, two factors for each group
    by_channel = _FP32_BYTES * num_images * num_channels
    by_group = _FP32_BYTES * num_images * num_groups
    return _copies(gradient, pixels) + 3 * [by_channel] + 2 * [by_group]


def _layer_norm(args: Sequence[Any]) -> list[int]:
    return _copies(args[0])


def _layer_norm_backward(args: Sequence[Any]) -> list[int]:
    return _copies(args[0], args[1])


def _sum(args: Sequence[Any]) -> list[int]:
    return partial_sums(args[0], args[1] if len(args) > 1 else None)


def _vector_norm(args: Sequence[Any]) -> list[int]:
    return partial_sums(args[0], args[2] if len(args) > 2 else None)


_RULES: dict[Any, Callable[[Sequence[Any]], list[int]]] = {
    _ATEN.convolution.default: _convolution,
    _ATEN.convolution_backward.default: _convolution_backward,
    _ATEN.linalg_vector_norm.default: _vector_norm,
    _ATEN.mean.dim: _sum,
    _ATEN.native_group_norm.default: _group_norm,
    _ATEN.native_group_norm_backward.default: _group_norm_backward,
    _ATEN.native_layer_norm.default: _layer_norm,
    _ATEN.native_layer_norm_backward.default: _layer_norm_backward,
    _ATEN.sum.default: _sum,
    _ATEN.sum.dim_IntList: _sum,
}
