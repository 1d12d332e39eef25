"""Runs a network on the meta device, to find out whether it takes inputs of a shape."""

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
            f"{field}={name!r} cannot be trained on inputs of shape {shape}: {reason}; use patches "
            "of a larger or another side, more of them (sampling_rate) or more images a batch, "
            f"norm=group, or another {field}"
        ) from None
