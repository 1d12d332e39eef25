"""`partial_sums`: what CUDA's reductions keep between thread blocks, in bytes.

A reduction of many values to few results, such as a bias' gradient, is split over thread blocks,
which put their partial results into memory of torch's allocator: up to 50 MB for a layer of
ConvNeXt. How it is split follows from shape and strides; the rules are those of torch's
`ATen/native/cuda/Reduce.cuh` (torch 2.11 to 2.15), for numbers of at most 4 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from patchtrain.estimation.rounding import divide_up

_ACCUMULATED_BYTES = 4
_MAX_THREADS = 512
_WARP = 32
_VECTOR = 4
_MIN_VALUES, _MAX_VALUES = 16, 256
"""Values that a thread should add up at least, and how many are worth more thread blocks."""

_NUM_PROCESSORS = 132
_THREADS_OF_PROCESSOR = 2048
"""As of an H100; smaller GPUs split into no more blocks."""


class _Axis(NamedTuple):
    size: int
    stride: int


def partial_sums(values: Tensor, dims: Sequence[int] | None) -> list[int]:
    """Return the sizes of the blocks that a reduction of `values` over `dims` takes; none if it is
    not split.

    Args:
        dims: None: all.
    """
    reduced, kept = _axes(values, dims)
    num_outputs = _product(kept)
    num_inputs = values.numel() // max(1, num_outputs)
    if not reduced or num_inputs <= 1:
        return []
    along_inputs = not kept or reduced[0].stride < kept[0].stride
    vector = 1
    if along_inputs:
        width, height = num_inputs, num_outputs
        if reduced[0].stride == 1 and len(reduced) == 1 and not kept and width > 128:
            width //= _VECTOR
    else:
        width, height = num_outputs, num_inputs
        if kept[0].stride == 1:
            vector = _vector_size(values, reduced, kept)
            width //= vector
    across, down = _block(width, height, vector)
    step_in, step_out = (across, 1) if along_inputs else (1, across)
    each = divide_up(num_inputs, step_in)
    is_split_down = each >= down * _MIN_VALUES or each >= _MAX_VALUES
    if is_split_down:
        each = divide_up(num_inputs, step_in * down)
    else:
        step_out *= down
    grid = divide_up(num_outputs // vector, step_out)
    target = _NUM_PROCESSORS * (_THREADS_OF_PROCESSOR // (across * down))
    if not is_split_down or each < _MAX_VALUES or grid > target:
        return []
    by_load = min(divide_up(target, grid), divide_up(each, _MIN_VALUES))
    num_blocks = max(by_load, divide_up(each, _MAX_VALUES))
    if num_blocks <= 1:
        return []
    size = _ACCUMULATED_BYTES * num_outputs * num_blocks
    if not along_inputs:
        size *= across * vector
    return [size, 4 * grid]


def _axes(values: Tensor, dims: Sequence[int] | None) -> tuple[list[_Axis], list[_Axis]]:
    """Return the axes that are reduced and those that are kept, each in the order of their strides
    and joined where they lie one behind the other.
    """
    every = range(values.dim())
    over = set(every) if not dims else {dim % values.dim() for dim in dims}
    axes = [_Axis(size, stride) for size, stride in zip(values.shape, values.stride(), strict=True)]
    reduced = [axes[dim] for dim in every if dim in over and axes[dim].size != 1]
    kept = [axes[dim] for dim in every if dim not in over and axes[dim].size != 1]
    return _joined(reduced), _joined(kept)


def _joined(axes: Sequence[_Axis]) -> list[_Axis]:
    found: list[_Axis] = []
    for axis in sorted(axes, key=lambda axis: axis.stride):
        if found and found[-1].size * found[-1].stride == axis.stride:
            found[-1] = _Axis(found[-1].size * axis.size, found[-1].stride)
        else:
            found.append(axis)
    return found


def _vector_size(values: Tensor, reduced: Sequence[_Axis], kept: Sequence[_Axis]) -> int:
    """Return how many neighbouring results a thread works on: 4, or less if they do not divide."""
    numbers = [kept[0].size, *(axis.stride for axis in (*reduced, *kept[1:]))]
    size = _VECTOR
    while any(number % size for number in numbers):
        size //= 2
    return size


def _block(width: int, height: int, vector: int) -> tuple[int, int]:
    """Return how many threads of a block lie across and down."""
    most = _MAX_THREADS // vector
    width, height = _power_of_two(width, most), _power_of_two(height, most)
    across = min(width, _WARP)
    down = min(height, most // across)
    return min(width, most // down), down


def _power_of_two(number: int, most: int) -> int:
    return most if number >= most else 1 << (max(1, number).bit_length() - 1)


def _product(axes: Sequence[_Axis]) -> int:
    product = 1
    for axis in axes:
        product *= axis.size
    return product
