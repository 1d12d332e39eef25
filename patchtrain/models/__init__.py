"""Networks from names: the one builder that training, evaluation and checks share."""

from patchtrain.models.network import (
    Network,
    build_network,
    check_network,
    lay_out,
    memory_layout,
)

__all__ = ["Network", "build_network", "check_network", "lay_out", "memory_layout"]
