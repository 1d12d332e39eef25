"""Backbones from names, and the network of a trial."""

from patchtrain.models.network import Network, lay_out, memory_layout

__all__ = ["Network", "lay_out", "memory_layout"]
