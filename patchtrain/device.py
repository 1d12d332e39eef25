"""The device a trial runs on, from its name."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress

import torch

from patchtrain.errors import ConfigError

_HIGHEST_NUMBER = 127


def target_device(name: str) -> torch.device:
    """Return the device that `name` stands for: `cpu`, `cuda`, `cuda:N` or `auto` (CUDA if there is
    one); it need not be there.

    Raises:
        ConfigError: another name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,9})?", name):
        raise ConfigError(f"device={name!r} is not supported; use auto, cpu, cuda or cuda:N")
    number = int(name.partition(":")[2] or 0)
    if number > _HIGHEST_NUMBER:  # torch would take it for another
        raise ConfigError(f"device={name!r}: torch numbers no more than {_HIGHEST_NUMBER + 1} GPUs")
    return torch.device(name)


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` stands for and that is there; see `target_device`.

    Raises:
        ConfigError: another name, or a CUDA device that is not there.
    """
    device = target_device(name)
    num_devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= num_devices:
        found = f"{num_devices} CUDA devices found" if num_devices else _why_no_cuda()
        raise ConfigError(f"device={name!r} is not there ({found}); use auto or cpu")
    return device


def _why_no_cuda() -> str:
    """Return, as text, why torch finds no CUDA device."""
    needed = torch.version.cuda
    if needed is None:
        return f"torch {torch.__version__} was built without CUDA; install it from PyPI"
    supported = supported_cuda()
    if supported is None:
        return "no driver of NVIDIA's found"
    major = int(needed.partition(".")[0])
    if supported[0] < major:
        return (
            f"NVIDIA's driver supports CUDA {supported[0]}.{supported[1]} and torch "
            f"{torch.__version__} needs {major}.0 or later; install a newer driver, or a build of "
            "torch for this one"
        )
    return "the driver finds no GPU; CUDA_VISIBLE_DEVICES may hide it"


def supported_cuda() -> tuple[int, int] | None:
    """Return the version of CUDA that the driver supports; None without a driver. Asks the driver
    itself, which makes no context.
    """
    for name in ("libcuda.so.1", "nvcuda.dll"):
        number = ctypes.c_int(0)
        with suppress(OSError, AttributeError):
            if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value:
                return number.value // 1000, number.value % 1000 // 10
    return None
