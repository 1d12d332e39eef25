"""The tasks: what is predicted. Each is one entry here and one folder in `tasks/`."""

from __future__ import annotations

from collections.abc import Mapping

from patchtrain.catalog.facts import Config, PartFacts, Range, TaskFacts
from patchtrain.errors import ConfigError

_COARSEST_STRIDE_PX = 32
"""The coarsest of a backbone's maps; FCOS's pyramid starts from strides of 8, 16 and 32 px."""


def _check_boxes(config: Config) -> None:
    if "rotate" in config.augmentations:
        raise ConfigError(
            f"augment={config.augment!r}: a rotated box is no longer a box; use flip, colour or "
            "both"
        )
    name = config.method_facts.input_side
    side = getattr(config, name)
    if side % _COARSEST_STRIDE_PX:
        raise ConfigError(
            f"{name}={side} must be a multiple of {_COARSEST_STRIDE_PX} in detection with "
            f"method={config.method}, the stride of the backbone's coarsest map; use "
            f"{max(1, round(side / _COARSEST_STRIDE_PX)) * _COARSEST_STRIDE_PX}"
        )


_DENSE_METHODS = ("local_global", "patchgd", "tiled", "downsampled")
"""Methods that a sweep tries if patches have targets of their own."""

_DENSE_LEARNING_RATES = Range(low=1e-5, high=1e-3)  # the paper: 1e-4

HEADS: Mapping[str, PartFacts] = {
    "fcos": PartFacts(implementation="patchtrain.tasks.detection.fcos:Fcos"),
}
"""Heads of detectors, which find objects in maps of features."""

TASKS: Mapping[str, TaskFacts] = {
    "classification": TaskFacts(
        implementation="patchtrain.tasks.classification:ClassificationParts",
        needs_patch_of_original=True,
    ),
    "segmentation": TaskFacts(
        implementation="patchtrain.tasks.segmentation:SegmentationParts",
        defaults={
            "backbone": "unet",
            "aggregator": "conv1x1",
            "learning_rate": 1e-4,
        },
        reads=("encoder", "latent_channels"),
        patch_step_px=_COARSEST_STRIDE_PX,  # encoders halve a map five times, decoders double it
        search={
            "method": _DENSE_METHODS,
            "learning_rate": _DENSE_LEARNING_RATES,
            "backbone": ("unet", "deeplabv3"),  # the paper's
        },
    ),
    "detection": TaskFacts(
        implementation="patchtrain.tasks.detection:DetectionParts",
        defaults={
            "aggregator": "conv1x1",
            "global_pass": "joint",
            "latent_channels": 256,
            "tile_overlap": 0.2,
            "learning_rate": 1e-4,
        },
        reads=(
            "latent_channels",
            "head",
            "layout",
            "tile_overlap",
            "max_detections",
            "area_ranges",
        ),
        patch_step_px=_COARSEST_STRIDE_PX,
        search={"method": _DENSE_METHODS, "learning_rate": _DENSE_LEARNING_RATES},
        check=_check_boxes,
    ),
}
