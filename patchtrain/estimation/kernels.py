"""`AsKernelsDo`: results as kernels give them, where torch's tensors without content differ.

Statistics of norms are in fp32 for any inputs, and values and gradients are laid out as the kernels
of the device lay them out. For norms this saves time too: torch takes long to work out their fake
results. Memory that kernels use internally is in `estimation.scratch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from patchtrain.estimation.attention import attend, efficient_results, flash_results
from patchtrain.estimation.versions import BEFORE_2_14

_ATEN = torch.ops.aten
_AT_WEIGHT_AND_MASK = {
    _ATEN.native_batch_norm_backward.default: (2, 9),
    _ATEN.native_group_norm_backward.default: (4, 9),
}
"""Where the weight and the mask of wanted outputs stand among the arguments."""

_KEEP_THE_LAYOUT = (_ATEN.clone.default, _ATEN.hardtanh.default)
"""Operations whose kernels lay out their result like their input."""


class AsKernelsDo(TorchDispatchMode):
    """While active, operations on fake tensors give what kernels of `target` give."""

    def __init__(self, target: torch.device) -> None:
        super().__init__()
        self._on_cuda = target.type == "cuda"
        self._fixed = torch.contiguous_format if self._on_cuda else torch.preserve_format
        """Layout of group norm's output, and of batch norm's input gradient in evaluation mode.
        On CUDA it is channels first for any input."""
        self._corrections = _CORRECTIONS if self._on_cuda else {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in `MemoryMeter`

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is _ATEN.native_batch_norm.default:
            return self._batch_norm(*args)
        if func is _ATEN.native_group_norm.default:
            pixels, num_images, num_groups = args[0], args[3], args[6]
            statistics = _two_of_fp32(num_images, num_groups)
            return torch.empty_like(pixels, memory_format=self._fixed), *statistics
        if func in _AT_WEIGHT_AND_MASK:
            return self._gradients_of_norm(func, args)
        result = func(*args, **(kwargs or {}))
        if func is _ATEN.native_layer_norm.default and args[0].element_size() < 4:
            output, *statistics = result
            return output, *(value.to(torch.float32) for value in statistics)
        correct = self._corrections.get(func)
        if correct is not None:
            return correct(result, args)
        if torch.Tag.pointwise in func.tags and isinstance(result, Tensor):
            return _as_pointwise(result, func, args)
        return result

    def _batch_norm(
        self,
        pixels: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        training: bool,
        *_: float,
    ) -> tuple[Tensor, ...]:
        keeps = training or (self._on_cuda and not normed_by_cudnn(pixels, weight))
        statistics = _two_of_fp32(pixels.shape[1] if keeps else 0)
        return _normalised_like(pixels), *statistics

    def _gradients_of_norm(self, func: Any, args: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
        at_weight, at_mask = _AT_WEIGHT_AND_MASK[func]
        pixels, weight = args[1], args[at_weight]
        scale = pixels.new_empty(0) if weight is None else weight
        of_batch_norm = func is _ATEN.native_batch_norm_backward.default
        if of_batch_norm and args[7]:  # training
            first = _normalised_like(pixels)
        else:
            first = torch.empty_like(pixels, memory_format=self._fixed)
        results = (first, torch.empty_like(scale), torch.empty_like(scale))
        return tuple(
            r if wanted else None for r, wanted in zip(results, args[at_mask], strict=True)
        )


@contextmanager
def composed_as_on_cuda() -> Iterator[None]:
    """Context: operations are made of those that they are made of on CUDA, where others are kept
    for the backward pass than on the CPU.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        library.impl("dropout", _dropout, "CompositeImplicitAutograd")
        library.impl("scaled_dot_product_attention", attend, "CompositeImplicitAutograd")
        if BEFORE_2_14:
            library.impl("group_norm", _group_norm, "CompositeImplicitAutograd")
        yield
    finally:
        library._destroy()


def _dropout(values: Tensor, p: float, train: bool) -> Tensor:
    """One operation, which keeps a mask of one byte a value; on the CPU factors are kept."""
    if 0 < p < 1 and train and values.numel():
        return torch.native_dropout(values, p, True)[0]
    if not train or p == 0 or not values.numel():
        return values
    return values * torch.zeros_like(values)


def _group_norm(
    pixels: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    epsilon: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Keeps a copy with channels first, if they are not; on the CPU what it got is kept."""
    num_images, num_channels = pixels.shape[:2]
    num_places = pixels.shape[2:].numel()
    sizes = (num_images, num_channels, num_places, num_groups, epsilon)
    return torch.native_group_norm(pixels.contiguous(), weight, bias, *sizes)[0]


def normed_by_cudnn(pixels: Tensor, weight: Tensor | None) -> bool:
    """Whether cuDNN normalises a batch `pixels` on CUDA; else torch's own kernels do.

    The rule is that of `ATen/native/Normalization.cpp` (torch 2.11 to 2.15).
    """
    if weight is None or pixels.dim() < 3 or pixels.shape[0] > _MOST_INPUTS_OF_CUDNN:
        return False
    return pixels.dtype in (torch.float32, torch.float16) and weight.dtype == torch.float32


_MOST_INPUTS_OF_CUDNN = 880_801


def _as_pointwise(result: Tensor, func: Any, args: tuple[Any, ...]) -> Tensor:
    """Return `result` laid out as by a kernel that works value by value: see `_normalised_like`. A
    kernel that also reads a number keeps the layout.
    """
    lies_like_both = result.is_contiguous() and result.is_contiguous(
        memory_format=torch.channels_last
    )
    if not lies_like_both or result is args[0] or func in _KEEP_THE_LAYOUT:
        return result
    read = [
        value
        for argument, value in zip(func._schema.arguments, args, strict=False)
        if isinstance(argument.type, torch.TensorType)
    ]
    if not all(getattr(value, "shape", None) == result.shape for value in read):
        return result
    return torch.empty_like(result, memory_format=torch.contiguous_format)


def _normalised_like(pixels: Tensor) -> Tensor:
    """Return a tensor laid out like the result of batch norm: maps of one pixel, which have both
    layouts at once, come out with channels first.
    """
    layout = torch.contiguous_format if pixels.is_contiguous() else torch.preserve_format
    return torch.empty_like(pixels, memory_format=layout)


def _fills_its_memory(values: Tensor) -> bool:
    extents = zip(values.shape, values.stride(), strict=True)
    return 0 not in values.stride() and values.numel() == 1 + sum(
        (size - 1) * stride for size, stride in extents
    )


def _planar(result: Tensor, args: Sequence[Any]) -> Tensor:
    return torch.empty_like(result, memory_format=torch.contiguous_format)


def _like_the_gradient(result: Tensor, args: Sequence[Any]) -> Tensor:
    return torch.empty_like(args[0]) if _fills_its_memory(args[0]) else result


def _layer_norm_backward(results: Sequence[Tensor | None], args: Sequence[Any]) -> tuple[Any, ...]:
    first, *others = results
    return None if first is None else _planar(first, args), *others


def _log_sigmoid(results: Sequence[Tensor], args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    return results[0], torch.empty(0)  # the CPU keeps exponentials


def _dropped(results: Sequence[Tensor], args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    return torch.empty_like(args[0]), torch.empty_like(args[0], dtype=torch.bool)


_CORRECTIONS: dict[Any, Callable[[Any, Sequence[Any]], Any]] = {
    _ATEN._scaled_dot_product_efficient_attention.default: efficient_results,
    _ATEN._scaled_dot_product_flash_attention.default: flash_results,
    _ATEN.elu_backward.default: _like_the_gradient,
    _ATEN.glu_backward.default: _planar,
    _ATEN.hardsigmoid_backward.default: _like_the_gradient,
    _ATEN.hardswish_backward.default: _like_the_gradient,
    _ATEN.hardtanh_backward.default: _like_the_gradient,
    _ATEN.log_sigmoid_backward.default: _like_the_gradient,
    _ATEN.log_sigmoid_forward.default: _log_sigmoid,
    _ATEN.native_dropout.default: _dropped,
    _ATEN.native_layer_norm_backward.default: _layer_norm_backward,
    _ATEN.pixel_shuffle.default: _planar,
    _ATEN.pixel_unshuffle.default: _planar,
    _ATEN.reflection_pad2d.default: _planar,
    _ATEN.softplus_backward.default: _like_the_gradient,
}
"""Operation -> what makes of its result without content, and its arguments, that on CUDA."""


def _two_of_fp32(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.empty(shape, dtype=torch.float32), torch.empty(shape, dtype=torch.float32)
