"""Methods: how an image is trained on. One file per method, one contract (`base.Method`)."""

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.extension import own_code
from patchtrain.methods.base import Influence, Method, MethodTools

__all__ = ["Influence", "Method", "MethodTools", "build_method"]


def build_method(config: TrialConfig, tools: MethodTools) -> Method:
    """Return the method that `config.method` names.

    Raises:
        ConfigError: it does not go with the networks, or is the user's own and cannot be made.
    """
    kind = catalog.implementation("method", config.method, Method)
    with own_code("method", config.method):
        return kind(config, tools)
