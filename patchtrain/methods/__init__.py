"""Methods: how an image is trained on. One file per method, one contract (`base.Method`)."""

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.methods.base import Method, MethodTools
from patchtrain.models.backbones import blamed_on

__all__ = ["Method", "MethodTools", "build_method"]


def build_method(config: TrialConfig, tools: MethodTools) -> Method:
    """Return the method that `config.method` names.

    Raises:
        ConfigError: it does not go with the networks, or is the user's own and cannot be made.
    """
    kind = catalog.implementation("method", config.method, Method)
    if not catalog.is_own(config.method):
        return kind(config, tools)
    with blamed_on("method", config.method, "none", "cannot be built", instead=None):
        return kind(config, tools)
