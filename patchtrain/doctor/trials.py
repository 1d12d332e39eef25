"""Trials on random pixels, as the doctor's checks run them on a GPU.

Knows nothing of what is expected of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchtrain.config import TrialConfig
from patchtrain.datasets import num_classes
from patchtrain.engine import Engine
from patchtrain.memory.budget import MemoryGuard
from patchtrain.step.batch import HostBatch
from patchtrain.tasks import parts_of

_SHARED: Mapping[str, Any] = {
    "image_size": 1024,
    "patch_size": 256,
    "sampling_rate": 0.25,
    "inner_iterations": 2,
    "batch_size": 2,
}
_MASKS: Mapping[str, Any] = {"task": "segmentation", "dataset": "drive", "encoder": "resnet34"}
_BOXES: Mapping[str, Any] = {
    "task": "detection",
    "dataset": "coco",
    "num_classes": 10,
    "data_dir": "none",
    "backbone": "resnet50",
}

TRIALS: Mapping[str, Mapping[str, Any]] = {
    "resnet50": {"backbone": "resnet50"},
    "resnet50, bf16, channels last": {
        "backbone": "resnet50",
        "precision": "bf16",
        "channels_last": True,
    },
    "resnet18, group norm, chunks of 8": {
        "backbone": "resnet18",
        "norm": "group",
        "patch_microbatch": 8,
    },
    "resnet18, downsampled, fp16": {
        "backbone": "resnet18",
        "method": "downsampled",
        "precision": "fp16",
    },
    "convnext_tiny, patchgd": {"backbone": "convnext_tiny", "method": "patchgd"},
    "U-Net": {**_MASKS, "backbone": "unet"},
    "DeepLabV3, bf16": {**_MASKS, "backbone": "deeplabv3", "precision": "bf16"},
    "FCOS": _BOXES,
}
"""Name -> settings of a trial: all tasks, the precisions, layouts and methods that differ most."""


def trial(name: str, **changes: Any) -> TrialConfig:
    """Return the configuration of the trial `name` of `TRIALS`, on CUDA."""
    settings = {**_SHARED, **TRIALS[name], "device": "cuda", **changes}
    return TrialConfig.from_mapping(settings)


def random_batch(config: TrialConfig, seed: int = 0) -> HostBatch:
    """Return images of random pixels, with targets of no class but the first."""
    random = np.random.default_rng(seed)
    side = config.image_size
    images = [
        random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(config.batch_size)
    ]
    return HostBatch(images, [parts_of(config).blank_target(side)] * config.batch_size)


def build_engine(config: TrialConfig, guard: MemoryGuard) -> Engine:
    """Return the engine of a trial; the caller has entered `guard`."""
    return Engine(config, num_classes(config), guard, batches_per_epoch=2, epochs=1)


def train(config: TrialConfig, guard: MemoryGuard, num_batches: int = 2) -> None:
    """Train some batches within `guard` and validate one."""
    with guard:
        engine = build_engine(config, guard)
        for seed in range(num_batches):
            engine.train_batch(random_batch(config, seed), torch.Generator().manual_seed(seed))
        engine.finish_epoch()
        engine.predict(random_batch(config))
        torch.cuda.synchronize()


def gradients(config: TrialConfig, guard: MemoryGuard) -> Sequence[Tensor]:
    """Return the gradients of a trial's first inner iteration, of all parameters that have one."""
    with guard:
        engine = build_engine(config, guard)
        engine._method.start(random_batch(config))
        engine._method.backward(torch.Generator().manual_seed(0))
        engine._method.finish()
    return [p.grad for p in engine.network.parameters() if p.grad is not None]
