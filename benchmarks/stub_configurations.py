"""What `estimate_error.py --device stub` compares: all tasks, precisions, layouts, norms."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from patchtrain.config import TrialConfig

Settings = Mapping[str, Any]

_SHARED: Settings = {
    "image_size": 512,
    "patch_size": 128,
    "sampling_rate": 0.25,
    "epochs": 1,
    "device": "cuda",
}
_CLASSIFIERS: Sequence[Settings] = (
    {"backbone": "resnet18"},
    {"backbone": "resnet50"},
    {"backbone": "mobilenetv2_100"},
    {"backbone": "convnext_tiny"},
    {"backbone": "convnextv2_atto"},
    {
        "backbone": "vit_tiny_patch16_224",
        "image_size": 896,
        "patch_size": 224,
        "aggregator": "small_cnn",
    },
)
_SEGMENTERS: Sequence[Settings] = (
    {"dataset": "drive", "backbone": "unet", "encoder": "resnet34"},
    {"dataset": "drive", "backbone": "unet", "encoder": "efficientnet-b0"},
    {"dataset": "drive", "backbone": "deeplabv3", "encoder": "resnet18"},
)
_BOXES: Settings = {
    "dataset": "coco",
    "data_dir": "none",
    "num_classes": 10,
    "backbone": "resnet18",
    "latent_channels": 64,
}
_DETECTORS: Sequence[Settings] = ({**_BOXES, "layout": "tile"}, {**_BOXES, "layout": "stack"})
_MASKS: Settings = {"dataset": "drive", "encoder": "resnet18"}
_SWIN: Settings = {
    "backbone": "swin_tiny_patch4_window7_224",
    "aggregator": "small_cnn",
    "image_size": 896,
    "patch_size": 224,
}
_FAMILIES = (
    "maxvit_tiny_tf_224",
    "coatnet_0_rw_224",
    "swinv2_tiny_window8_256",
    "beitv2_base_patch16_224",
    "xcit_nano_12_p16_224",
    "levit_128s",
    "edgenext_xx_small",
    "efficientformerv2_s0",
    "pvt_v2_b0",
    "poolformer_s12",
    "mvitv2_tiny",
    "focalnet_tiny_srf",
    "hrnet_w18_small",
    "mobilevit_xxs",
    "resnest14d",
    "nfnet_l0",
    "inception_v3",
    "ghostnet_100",
    "mixer_s32_224",
    "gmlp_s16_224",
    "hiera_tiny_224",
    "repvit_m0_9",
)
"""Networks of timm, each of another kind."""
_OTHERS: Sequence[Settings] = (
    {"backbone": "resnet18", "method": "downsampled", "precision": "bf16"},
    {"backbone": "resnet50", "method": "full", "precision": "fp16", "channels_last": True},
    {"backbone": "resnet18", "method": "checkpointed", "channels_last": True},
    {"backbone": "resnet18", "aggregator": "attention", "optimizer_kernel": "loop"},
    {"backbone": "efficientnet_b0", "drop_rate": 0.3, "precision": "bf16"},
    {**_SWIN, "precision": "fp32"},
    {**_SWIN, "precision": "bf16", "method": "patchgd"},
    {"backbone": "densenet121", "precision": "bf16", "channels_last": True},
    {"backbone": "resnetv2_50x1_bit", "patch_microbatch": 8},
    {"backbone": "regnety_002", "precision": "fp16", "norm": "frozen", "patch_microbatch": 3},
    {"backbone": "vgg11_bn", "precision": "tf32"},
    {"backbone": "mobilenetv3_small_100", "precision": "bf16", "channels_last": True},
    {**_MASKS, "backbone": "unet", "encoder": "mit_b0", "precision": "bf16"},
    {**_MASKS, "backbone": "unet", "method": "full", "norm": "group", "patch_microbatch": 1},
    {**_MASKS, "backbone": "unet", "method": "tiled", "precision": "bf16"},
    {**_MASKS, "backbone": "deeplabv3", "drop_rate": 0.5, "precision": "bf16"},
    {**_BOXES, "method": "tiled", "precision": "bf16"},
    {**_BOXES, "method": "downsampled", "precision": "fp16", "channels_last": True},
)
_R18: Settings = {"backbone": "resnet18"}
_UNET: Settings = {**_MASKS, "backbone": "unet"}
_GLOBAL_PATCH: Sequence[Settings] = (
    {**_R18, "global_pass": "filled", "fusion": "concat", "precision": "bf16"},
    {**_R18, "global_pass": "filled", "fusion_scale": 0.0, "norm": "group", "patch_microbatch": 3},
    {**_R18, "global_pass": "joint", "fusion_scale": 0.0, "precision": "fp16"},
    {**_UNET, "global_pass": "joint", "fusion": "add", "precision": "bf16"},
    {**_UNET, "global_pass": "filled", "fusion_scale": 0.0, "channels_last": True},
    {**_BOXES, "global_pass": "filled", "precision": "bf16"},
    {**_BOXES, "global_pass": "filled", "layout": "stack", "fusion": "add", "fusion_scale": 0.5},
    {**_R18, "method": "published", "precision": "bf16"},
    {**_R18, "method": "published_patchgd", "channels_last": True},
    {**_UNET, "method": "published", "precision": "fp16"},
    {**_UNET, "method": "published_patchgd", "norm": "group", "patch_microbatch": 1},
    {**_BOXES, "method": "published", "precision": "bf16", "channels_last": True},
)
"""Every form of the global patch that `_drawn` leaves out."""


def stub_configurations(seed: int) -> list[TrialConfig]:
    """Return over 100 configurations; what no list says of the first 66 is drawn with `seed`."""
    draw = random.Random(seed)
    drawn = [
        TrialConfig.from_mapping(
            {
                **_SHARED,
                **network,
                **_drawn(draw, network),
                "precision": precision,
                "channels_last": together,
            }
        )
        for network in (*_CLASSIFIERS, *_SEGMENTERS, *_DETECTORS)
        for precision in ("fp32", "bf16", "fp16")
        for together in (False, True)
    ]
    families = [_family(number, name) for number, name in enumerate(_FAMILIES)]
    return drawn + [
        TrialConfig.from_mapping({**_SHARED, **settings})
        for settings in (*_OTHERS, *families, *_GLOBAL_PATCH)
    ]


def _family(number: int, name: str) -> Settings:
    """Return settings of a network of timm; precisions, layouts and chunks take turns."""
    side_px = 256 if name.endswith("256") else 224
    return {
        "backbone": name,
        "aggregator": "small_cnn",
        "image_size": 4 * side_px,
        "patch_size": side_px,
        "precision": ("bf16", "fp32", "fp16")[number % 3],
        "channels_last": number % 2 == 1,
        "patch_microbatch": ("none", 2)[number // 2 % 2],
    }


def _drawn(draw: random.Random, network: Settings) -> Settings:
    has_batch_norm = not network["backbone"].startswith(("convnext", "vit"))
    chunk = draw.choice(("none", 3, 8))
    norms = ("group", "frozen") if chunk != "none" else ("batch", "group")
    return {
        "method": draw.choice(("local_global", "local_global", "patchgd")),
        "norm": draw.choice(norms) if has_batch_norm else "batch",
        "patch_microbatch": chunk,
        "batch_size": draw.choice((2, 3)),
        "inner_iterations": draw.choice((1, 2)),
        "accumulation_steps": draw.choice((1, 1, 2)),
        "fusion": draw.choice(("add", "concat")),
        "optimizer_kernel": draw.choice(("auto", "foreach")),
    }
