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


def stub_configurations(seed: int) -> list[TrialConfig]:
    """Return at least 80 configurations; what no list says of the first 66 is drawn with `seed`."""
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
    return drawn + [TrialConfig.from_mapping({**_SHARED, **settings}) for settings in _OTHERS]


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
