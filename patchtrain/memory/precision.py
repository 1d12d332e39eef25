"""What fp32 means on CUDA, and which precisions a GPU has.

By default CUDA's convolutions take fp32 for TF32, with 10 bits instead of 23. Here `fp32` is fp32,
and `tf32` asks for TF32. Knows nothing of models and trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from patchtrain.errors import ConfigError

_AMPERE = 8
"""The compute capability from which on a GPU has bfloat16 and TF32."""

_CONVOLUTIONS: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined, unused-ignore]


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that `device` does not have; a CUDA device has to be there.

    Raises:
        ConfigError: names the device, and what to use instead.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"precision={precision!r} needs a GPU, and device={device.type!r}; use precision=fp32"
        )
    if device.type != "cuda" or precision not in ("tf32", "bf16"):
        return
    properties = torch.cuda.get_device_properties(device)
    if properties.major < _AMPERE:
        other = "fp16 or fp32" if precision == "bf16" else "fp32"
        raise ConfigError(
            f"precision={precision!r} needs a GPU of compute capability 8.0 or more, and "
            f"{properties.name} ({device}) has {properties.major}.{properties.minor}; "
            f"use precision={other}"
        )


@contextmanager
def fp32_precision(precision: str) -> Iterator[None]:
    """Context: convolutions and matrix products of fp32 numbers on CUDA are computed in TF32 if
    `precision` is `tf32`, and else in fp32.
    """
    wanted = "tf32" if precision == "tf32" else "ieee"
    settings: tuple[Any, ...] = (torch.backends.cuda.matmul, _CONVOLUTIONS)
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = wanted
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
