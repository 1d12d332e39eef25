"""Backbones (theta1): networks that turn patches into features, by name.

A name is one of timm's or `package.module:Name` of the user's own. No other module uses timm. Knows
nothing of grids, methods or budgets.

Shapes: B batch, c channels, p patch side in px, d features.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from patchtrain import catalog
from patchtrain.errors import ConfigError
from patchtrain.extension import load_named

MAX_NORM_GROUPS = 32
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Parts of a state that batch norm has and group norm does not."""


def is_timm_name(name: object) -> bool:
    """Whether timm has a network of this name."""
    return isinstance(name, str) and timm.is_model(name)


def timm_network(name: str, **settings: Any) -> nn.Module:
    """Return timm's network `name`; `settings` are those of `timm.create_model`."""
    return timm.create_model(name, **settings)


def check_name(field: str, name: str) -> None:
    """Refuse a name that is neither timm's nor in the user's own code.

    Raises:
        ConfigError: names `field` and the nearest known names.
    """
    if catalog.is_own(name):
        load_named(name, field)
    elif not is_timm_name(name):
        near = difflib.get_close_matches(str(name), timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise ConfigError(f"{field}={name!r} is not a network of timm; {hint}")


def build_backbone(name: str, weights: str, norm: str, drop_rate: float = 0.0) -> nn.Module:
    """Return the network B x 3 x p x p -> B x d, with pooled features and no classifier.

    Args:
        weights: `none`, `pretrained` or the path of a safetensors file.
        norm, drop_rate: see `TrialConfig`.

    Raises:
        ConfigError: unknown name, or weights that cannot be loaded.
    """
    check_name("backbone", name)
    if catalog.is_own(name):
        network = build_own_backbone(name, weights, drop_rate)
        declared(network, name, "num_features")
        prepare(network, weights, norm)
        return network
    with blamed_on("backbone", name, weights, "cannot be built", instead="resnet50"):
        try:
            network = timm.create_model(
                name, pretrained=weights == "pretrained", num_classes=0, **dropout(drop_rate)
            )
        except TypeError as error:
            raise ConfigError(
                f"backbone={name!r} cannot be built with drop_rate={drop_rate} ({error}); use 0, "
                "or another backbone"
            ) from None
    prepare(network, weights, norm)
    return network


def build_own(field: str, name: str, **arguments: Any) -> nn.Module:
    """Return the network that the user's `package.module:Name` builds from `arguments`.

    Raises:
        ConfigError: it cannot be imported or called, or does not return a `torch.nn.Module`.
    """
    make = load_named(name, field)
    if not callable(make):
        raise ConfigError(f"{field}={name!r}: cannot be called; name a class or a function")
    with blamed_on(field, name, "none", "cannot be built", instead=None):
        network = make(**arguments)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{field}={name!r}: returns a {type(network).__name__}; it must return a "
            "torch.nn.Module"
        )
    return network


def build_own_backbone(name: str, weights: str, drop_rate: float) -> nn.Module:
    """Return the user's own backbone; its outputs depend on the task (docs/extending.md).

    Raises:
        ConfigError: see `build_own`; or `pretrained` weights, which it cannot have.
    """
    if weights == "pretrained":
        raise ConfigError(
            f"weights='pretrained': no weights are published for backbone={name!r}; give a "
            "safetensors file, or load them in your own code and use weights=none"
        )
    return build_own("backbone", name, **dropout(drop_rate))


def declared(network: nn.Module, name: str, attribute: str) -> Any:
    """Return the attribute in which the user's own backbone `name` describes itself.

    Raises:
        ConfigError: it has no such attribute.
    """
    if not hasattr(network, attribute):
        raise ConfigError(
            f"backbone={name!r}: has no attribute {attribute!r}; set it in its __init__ "
            "(docs/extending.md)"
        )
    return getattr(network, attribute)


@contextmanager
def blamed_on(
    field: str, name: str, weights: str, fault: str, *, instead: str | None
) -> Iterator[None]:
    """Context: turns an error inside, where a library builds a network, into one that says what to
    change.

    Running out of memory stays as it is. So does a `RuntimeError` on the meta device: it may come
    from tensors without values, and then `build_on_meta` tries again with values.

    Args:
        field, name: the setting and its value.
        weights: see `TrialConfig`.
        fault: the message says this about `name`.
        instead: a value that works; None: the code is the user's own.

    Raises:
        ConfigError: instead of any other error.
    """
    if weights == "pretrained":
        hub_logging.set_verbosity_error()  # or each retry of a failing download prints a line
    try:
        yield
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, RuntimeError) and torch.get_default_device().type == "meta":
            raise
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        if weights == "pretrained":
            raise ConfigError(
                f"weights='pretrained' of {field}={name!r} cannot be loaded "
                f"({type(error).__name__}: {reason}); connect to the internet once, give a "
                "safetensors file, or use weights=none"
            ) from None
        raise ConfigError(
            f"{field}={name!r} {fault} ({reason}); "
            + (f"use another, e.g. {instead}" if instead else "fix its code")
        ) from None


def prepare(network: nn.Module, weights: str, norm: str) -> None:
    """Load the safetensors file `weights`, if it is one, and adapt the norms.

    Published weights come from networks with batch norm, a trial's weights have the trial's norm.
    So the content of the file decides what is done first.

    Raises:
        ConfigError: no such file, or weights for another network or norm.
    """
    if weights not in ("none", "pretrained"):
        state = _read_weights(weights)
        if norm == "group" and not any(name.endswith(_STATISTICS) for name in state):
            adapt_norm(network, norm)
        _load_weights(network, state, weights)
    adapt_norm(network, norm)


def adapt_norm(network: nn.Module, norm: str) -> None:
    """Make the batch norms of `network` what `TrialConfig.norm` says."""
    if norm == "group":
        use_group_norm(network)
    elif norm == "frozen":
        freeze_batch_norm(network)


def dropout(drop_rate: float) -> dict[str, Any]:
    """Return the argument for timm's builders; none for 0, since some networks do not take it."""
    return {"drop_rate": drop_rate} if drop_rate else {}


def feature_dim(backbone: nn.Module) -> int:
    """Return d, the number of features that `backbone` returns for a patch."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def use_group_norm(network: nn.Module) -> None:
    """Replace each batch norm by a group norm of at most 32 groups, scale and shift kept."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _as_group_norm(child))


def norms_over_inputs(network: nn.Module) -> list[nn.Module]:
    """Return the layers of `network` that keep running statistics: batch norm and the like."""
    return [m for m in network.modules() if getattr(m, "running_var", None) is not None]


def freeze_batch_norm(network: nn.Module) -> None:
    """Make each batch norm use its running statistics, in training too, and never update them."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]


def _as_group_norm(norm: _BatchNorm) -> nn.Module:
    groups = math.gcd(norm.num_features, MAX_NORM_GROUPS)
    group_norm = nn.GroupNorm(groups, norm.num_features, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        group_norm.weight.data.copy_(norm.weight.data)
        group_norm.bias.data.copy_(norm.bias.data)
    # timm fuses dropout and activation into its batch norm
    fused = [m for m in (getattr(norm, "drop", None), getattr(norm, "act", None)) if m is not None]
    return nn.Sequential(group_norm, *fused) if fused else group_norm


def _without_prefix(state: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Return the part of `state` that belongs to the network, if the state is a larger one's.

    A trial's checkpoint has the backbone under `backbone.`; other programs use other names.
    """
    if not wanted or any(name in state for name in wanted):
        return state
    prefixes = [name.removesuffix(wanted[0]) for name in state if name.endswith(f".{wanted[0]}")]
    if len(prefixes) != 1:
        return state
    return {
        name.removeprefix(prefixes[0]): value
        for name, value in state.items()
        if name.startswith(prefixes[0])
    }


def _read_weights(weights: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    if not Path(weights).is_file():
        raise ConfigError(
            f"weights={weights!r} is not a file; use none, pretrained or a safetensors file"
        )
    try:
        return load_file(weights)
    except Exception as error:
        raise ConfigError(
            f"weights={weights!r} is not a safetensors file ({error}); save one with "
            "safetensors.torch.save_file"
        ) from None


def _load_weights(network: nn.Module, state: dict[str, Any], weights: str) -> None:
    """Load `state`, which may be a larger network's as in a trial's checkpoint, into `network`;
    entries that `network` does not have are ignored.
    """
    state = _without_prefix(state, list(network.state_dict()))
    own = {name: value for name, value in state.items() if name in network.state_dict()}
    try:
        missing = network.load_state_dict(own, strict=False).missing_keys
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"weights={weights!r} do not fit this backbone ({reason}); check its name"
        ) from None
    if missing and all(name.endswith(_STATISTICS) for name in missing):
        raise ConfigError(
            f"weights={weights!r} come from a network with group norm and have no statistics of "
            "batch norm; use norm=group"
        )
    if missing:
        raise ConfigError(
            f"weights={weights!r} lack {len(missing)} parameters of this backbone, first "
            f"{missing[0]!r}; check its name"
        )
