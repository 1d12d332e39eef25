"""Methods: how an image is trained on. One file per method, one contract (`base.Method`)."""

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.methods.base import Method, MethodTools

__all__ = ["Method", "MethodTools", "build_method"]


def build_method(config: TrialConfig, tools: MethodTools) -> Method:
    """Return the method that `config.method` names."""
    return catalog.implementation("method", config.method, Method)(config, tools)
