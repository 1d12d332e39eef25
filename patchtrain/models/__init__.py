"""Networks from names: the one builder that training, evaluation and checks share."""

from patchtrain.models.network import (
    Network,
    build_network,
    build_on_meta,
    check_network,
    lay_out,
    memory_layout,
    mixes_inputs,
)

__all__ = [
    "Network",
    "build_network",
    "build_on_meta",
    "check_network",
    "lay_out",
    "memory_layout",
    "mixes_inputs",
]
