"""Runs a network on the meta device, to see whether it accepts inputs of a given shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchtrain.errors import ConfigError


def probe(network: nn.Module, shape: tuple[int, ...], field: str, name: str) -> Tensor:
    """Return the output of `network` for an input of `shape`; call it under `torch.device("meta")`.

    Args:
        field, name: the setting that names the network, and its value.

    Raises:
        ConfigError: the network fails on it.
    """
    try:
        return network(torch.empty(shape))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{field}={name!r} cannot be trained on inputs of shape {shape}: {reason}; use larger "
            "patches or another patch_size, more patches (sampling_rate) or images (batch_size), "
            f"norm=group, or another {field}"
        ) from None
