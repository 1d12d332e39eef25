"""Methods: how an image is trained on. One file a method, one contract (`base.Method`)."""

from patchtrain.config import TrialConfig
from patchtrain.methods.base import Method, MethodTools
from patchtrain.methods.downsampled import Downsampled
from patchtrain.methods.full import Checkpointed, Full
from patchtrain.methods.local_global import LocalGlobal
from patchtrain.methods.patchgd import PatchGd
from patchtrain.methods.tiled import Tiled

__all__ = ["Method", "MethodTools", "build_method"]

_METHODS: dict[str, type[Method]] = {
    "checkpointed": Checkpointed,
    "downsampled": Downsampled,
    "full": Full,
    "local_global": LocalGlobal,
    "patchgd": PatchGd,
    "tiled": Tiled,
}


def build_method(config: TrialConfig, tools: MethodTools) -> Method:
    """Return the method that `config.method` names."""
    return _METHODS[config.method](config, tools)
