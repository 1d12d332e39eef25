"""The device a trial runs on, from its name."""

from __future__ import annotations

import torch

from patchtrain.errors import ConfigError


def target_device(name: str) -> torch.device:
    """Return the device that `name` stands for: `cpu`, `cuda`, `cuda:N` or `auto` (CUDA if there is
    one); it need not be there.

    Raises:
        ConfigError: another name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={name!r} is not supported; use auto, cpu, cuda or cuda:N")
    return device


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` stands for and that is there; see `target_device`.

    Raises:
        ConfigError: another name, or a CUDA device that is not there.
    """
    device = target_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name!r} is not there ({torch.cuda.device_count()} CUDA devices found); "
            "use auto or cpu"
        )
    return device
