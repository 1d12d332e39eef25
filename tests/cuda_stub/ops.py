"""What cuDNN and cuBLAS compute, replaced by what they allocate: their results, in their layouts.

Importing this replaces the operations of torch on CUDA. `workspace` adds scratch memory, `fail`
makes a library fail as it does when it gets no memory, and `load_kernels` has the first calls of
the libraries enlarge the context, as theirs do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from cuda_stub.books import BOOKS

LIBRARY = torch.library.Library("aten", "IMPL")
_TOGETHER = torch.channels_last

_state: dict[str, Any] = {"workspace": None, "failure": None, "kernels": {}}


def workspace(of_call: Callable[[str, Sequence[Tensor]], int] | None) -> None:
    """Have each call take scratch memory: the bytes that `of_call` gives for its name and inputs,
    asked of torch's allocator as cuDNN and cuBLAS do.
    """
    _state["workspace"] = of_call


def fail(message: str | None, name: str = "convolution") -> None:
    """Have the library call `name` fail with `message`; None: no more."""
    _state["failure"] = None if message is None else (name, message)


def load_kernels(**bytes_by_call: int) -> None:
    """Have the first call of each name enlarge the context by so many bytes."""
    _state["kernels"] = dict(bytes_by_call)


def _called(name: str, *inputs: Tensor) -> None:
    BOOKS.context_bytes += _state["kernels"].pop(name, 0)
    if _state["workspace"] is not None and (num_bytes := _state["workspace"](name, inputs)):
        torch.empty(num_bytes, dtype=torch.uint8, device=inputs[0].device)
    if _state["failure"] is not None and _state["failure"][0] == name:
        raise RuntimeError(_state["failure"][1])


def _layout(pixels: Tensor, weight: Tensor) -> torch.memory_format:
    """Return the layout that cuDNN computes in: channels together if either input has them so."""
    layouts = [suggest_memory_format(tensor) for tensor in (pixels, weight) if tensor.dim() == 4]
    return _TOGETHER if _TOGETHER in layouts else torch.contiguous_format


def _convolution(
    pixels: Tensor,
    weight: Tensor,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *_: object,
) -> Tensor:
    sides = [
        (side + 2 * pad - far * (kernel - 1) - 1) // step + 1
        for side, pad, far, kernel, step in zip(
            pixels.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    return _convolved(pixels, weight, (len(pixels), len(weight), *sides))


def _convolution_transpose(
    pixels: Tensor,
    weight: Tensor,
    padding: Sequence[int],
    output_padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *_: object,
) -> Tensor:
    sides = [
        (side - 1) * step - 2 * pad + far * (kernel - 1) + more + 1
        for side, pad, more, far, kernel, step in zip(
            pixels.shape[2:],
            padding,
            output_padding,
            dilation,
            weight.shape[2:],
            stride,
            strict=True,
        )
    ]
    return _convolved(pixels, weight, (len(pixels), weight.shape[1] * groups, *sides))


def _convolved(pixels: Tensor, weight: Tensor, shape: Sequence[int]) -> Tensor:
    layout = _layout(pixels, weight)
    kept = pixels.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    result = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=layout)
    _called("convolution", *kept)
    return result


def _convolution_backward(
    gradient: Tensor,
    pixels: Tensor,
    weight: Tensor,
    bias_sizes: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: object,
    output_padding: object,
    groups: object,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    layout = _layout(pixels, weight)
    kept = [tensor.contiguous(memory_format=layout) for tensor in (gradient, pixels, weight)]
    results: list[Tensor | None] = [None, None, None]
    for number, like in enumerate((pixels, weight)):
        if wanted[number]:
            results[number] = torch.empty(
                like.shape, dtype=gradient.dtype, device=like.device, memory_format=layout
            )
            _called("convolution_backward", *kept)
    del kept
    if wanted[2]:
        results[2] = gradient.sum([0, *range(2, gradient.dim())])
    return tuple(results)


def _batch_norm(
    pixels: Tensor, weight: object, bias: object, mean: object, variance: object, training: bool,
    *_: object,
) -> tuple[Tensor, ...]:  # fmt: skip
    pixels = pixels.contiguous(memory_format=_layout(pixels, pixels))
    result = torch.empty_like(pixels)
    num = pixels.shape[1] if training else 0
    statistics = [torch.empty(num, dtype=torch.float32, device=pixels.device) for _ in range(2)]
    reserve = torch.empty(0, dtype=torch.uint8, device=pixels.device)
    return result, *statistics, reserve


def _batch_norm_backward(
    pixels: Tensor, gradient: Tensor, weight: Tensor, *_: object
) -> tuple[Tensor, ...]:
    gradient = gradient.contiguous(memory_format=_layout(pixels, pixels))
    return torch.empty_like(pixels), torch.empty_like(weight), torch.empty_like(weight)


def _product(left: Tensor, right: Tensor) -> Tensor:
    shape = (*left.shape[:-1], right.shape[-1])
    result = torch.empty(shape, dtype=left.dtype, device=left.device)
    _called("product", left, right)
    return result


def _product_plus(plus: Tensor, left: Tensor, right: Tensor, **_: object) -> Tensor:
    return _product(left, right)


LIBRARY.impl("cudnn_convolution", _convolution, "CUDA")
LIBRARY.impl("cudnn_convolution_transpose", _convolution_transpose, "CUDA")
LIBRARY.impl("convolution_backward", _convolution_backward, "CUDA")
LIBRARY.impl("cudnn_batch_norm", _batch_norm, "CUDA")
LIBRARY.impl("cudnn_batch_norm_backward", _batch_norm_backward, "CUDA")
LIBRARY.impl("mm", _product, "CUDA")
LIBRARY.impl("bmm", _product, "CUDA")
LIBRARY.impl("addmm", _product_plus, "CUDA")
LIBRARY.impl("baddbmm", _product_plus, "CUDA")
