"""Segmentation networks from names, without their classifiers.

Knows nothing of grids, methods or budgets.

Shapes: B batch, p patch side in px, d features, s how many times the network shrinks its input.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationHead
from torch import nn

from patchtrain import catalog
from patchtrain.errors import ConfigError
from patchtrain.models.backbones import (
    blamed_on,
    build_own_backbone,
    check_name,
    declared,
    is_timm_name,
    prepare,
)
from patchtrain.tasks.segmentation.unet import PlainUnet

PLAIN = "unet_plain"
_AROUND_ENCODERS = {"unet": smp.Unet, "deeplabv3": smp.DeepLabV3}
NAMES = (*_AROUND_ENCODERS, PLAIN)

_TIMM_PREFIX = "tu-"


def encoder_name(backbone: str, encoder: str) -> str | None:
    """Return the encoder of the network `backbone`; None if it has no named encoder."""
    return encoder if backbone in _AROUND_ENCODERS else None


def check_segmenter(backbone: str, encoder: str) -> None:
    """Refuse unknown names.

    Raises:
        ConfigError: names the field and the known names.
    """
    if catalog.is_own(backbone):
        check_name("backbone", backbone)
        return
    if backbone not in NAMES:
        raise ConfigError(
            f"backbone={backbone!r} is not a network for segmentation; use one of "
            f"{', '.join(NAMES)} (and `encoder` for the network that it is built around)"
        )
    if encoder_name(backbone, encoder) is None:
        return
    known = smp.encoders.get_encoder_names()
    if encoder in known or (
        encoder.startswith(_TIMM_PREFIX) and is_timm_name(encoder.removeprefix(_TIMM_PREFIX))
    ):
        return
    near = difflib.get_close_matches(encoder, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "e.g. resnet34, or tu-<name> of timm"
    raise ConfigError(f"encoder={encoder!r} is unknown to segmentation-models-pytorch; {hint}")


def build_segmenter(
    backbone: str, encoder: str, *, weights: str, norm: str, drop_rate: float = 0.0
) -> Segmenter:
    """Return the network, its classifier not built yet.

    Args:
        weights, norm, drop_rate: see `TrialConfig`.

    Raises:
        ConfigError: unknown names, or weights that cannot be loaded.
    """
    check_segmenter(backbone, encoder)
    if catalog.is_own(backbone):
        network = build_own_backbone(backbone, weights, drop_rate)
        prepare(network, weights, norm)
        num_features = declared(network, backbone, "num_features")
        return Segmenter(network, num_features, enlarged=getattr(network, "stride", 1))
    if drop_rate and backbone != "deeplabv3":
        raise ConfigError(f"drop_rate={drop_rate}: backbone={backbone} has no dropout; use 0")
    if backbone == PLAIN:
        if weights == "pretrained":
            raise ConfigError(
                f"weights='pretrained': there are none for backbone={PLAIN}; use none or a "
                "safetensors file"
            )
        network = PlainUnet()
        segmenter = Segmenter(network, PlainUnet.out_channels, enlarged=1)
    else:
        segmenter = _around_encoder(backbone, encoder, weights, drop_rate)
    prepare(segmenter.network, weights, norm)
    return segmenter


class Segmenter(NamedTuple):
    """A segmentation network without classifier."""

    network: nn.Module
    """B x 3 x p x p -> B x d x p/s x p/s."""
    num_features: int
    """d"""
    enlarged: int
    """s: how many times a classifier's map is enlarged to the patch's size."""

    def classifier(self, out_channels: int) -> nn.Module:
        """Return the classifier B x d x p/s x p/s -> B x out_channels x p x p: a 1x1 convolution
        whose result is enlarged if the network shrinks its input.
        """
        return SegmentationHead(
            self.num_features, out_channels, kernel_size=1, upsampling=self.enlarged
        )


def _pretrained_setting(encoder: str) -> str | bool:
    """Return smp's argument for the published weights of an encoder.

    Raises:
        ConfigError: there are none trained on ImageNet.
    """
    if encoder.startswith(_TIMM_PREFIX):
        return True  # a timm name says which weights
    published = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {"imagenet": {}})
    if "imagenet" not in published:
        known = (
            f"only weights trained on other data ({', '.join(published)})"
            if published
            else "no weights"
        )
        raise ConfigError(
            f"weights='pretrained': for encoder={encoder!r} {known} are published; use another "
            "encoder, such as resnet34, give a safetensors file, or use weights=none"
        )
    return "imagenet"


def _around_encoder(backbone: str, encoder: str, weights: str, drop_rate: float) -> Segmenter:
    settings: dict[str, Any] = {}
    if backbone == "deeplabv3":
        settings["decoder_aspp_dropout"] = drop_rate
    pretrained = _pretrained_setting(encoder) if weights == "pretrained" else None
    fault = f"cannot carry backbone={backbone}"
    with blamed_on("encoder", encoder, weights, fault, instead="resnet34"):
        network = _AROUND_ENCODERS[backbone](encoder, encoder_weights=pretrained, **settings)
    to_classes, enlargement, *_ = network.segmentation_head
    enlarged = getattr(enlargement, "scale_factor", 1)  # an identity enlarges nothing
    network.segmentation_head = nn.Identity()
    return Segmenter(network, to_classes.in_channels, int(enlarged))
