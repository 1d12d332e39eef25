"""Which errors of CUDA, its libraries and torch mean that memory ran out.

Knows nothing of budgets; the caller says what the allocator counted.
"""

from __future__ import annotations

import re

import torch

_CERTAIN = re.compile(
    r"CUDA out of memory\. Tried to allocate"
    r"|CUDA error: out of memory"
    r"|CUDA driver error: out of memory"
    r"|CU\w+_(?:ALLOC|ALLOCATION)_FAILED"
    r"|cudaErrorMemoryAllocation"
    r"|CUDA_ERROR_OUT_OF_MEMORY"
    # torch before 2.14 fails in its report of who holds the memory that ran out
    r"|NVML_SUCCESS == .*INTERNAL ASSERT FAILED.*CUDACachingAllocator",
    re.DOTALL,
)
_NO_START = re.compile(
    r"unable to find an engine"
    r"|Unable to find a valid cuDNN algorithm"
    r"|No (?:valid )?execution plans"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR)"
    r"|INTERNAL ASSERT FAILED.*CUDACachingAllocator",
    re.IGNORECASE | re.DOTALL,
)
"""What libraries say when they could not start, for lack of memory or for another reason."""
_FAILURE = re.compile(r"CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_(?:EXECUTION_FAILED|NOT_SUPPORTED)")
"""What is said when a request was refused, and when something else went wrong."""

_ASKED = re.compile(r"(?:Tried to allocate|Requested size:) ([\d.]+) (bytes|KiB|MiB|GiB)")
_UNIT_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

NEXT_TO_NOTHING_BYTES = 64 * 2**20
"""Libraries ask the device itself for memory; with less free than this they get none."""


def is_out_of_memory(error: BaseException, *, was_refused: bool, free_bytes: int | None) -> bool:
    """Return whether `error` means that memory ran out.

    Args:
        was_refused: whether torch's allocator refused a request meanwhile.
        free_bytes: what the device has left; None if unknown.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error)
    if _CERTAIN.search(text):
        return True
    if was_refused and _FAILURE.search(text):
        return True
    is_full = free_bytes is not None and free_bytes < NEXT_TO_NOTHING_BYTES
    return bool(_NO_START.search(text)) and (was_refused or is_full)


def asked_bytes_of(error: BaseException) -> int | None:
    """Return how much was asked for when memory ran out; None if torch does not say."""
    match = _ASKED.search(str(error))
    return None if match is None else round(float(match[1]) * _UNIT_BYTES[match[2]])


def reason_of(error: BaseException) -> str:
    """Return what torch said, without its advice."""
    return str(error).partition("\n")[0].partition(" If reserved but unallocated")[0].strip()
