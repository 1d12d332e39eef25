"""The data sets. Each is one entry here and one class in `datasets/`."""

from __future__ import annotations

from collections.abc import Mapping

from patchtrain.catalog.facts import Config, DatasetFacts
from patchtrain.errors import ConfigError

_MAX_CLASSES = 255
"""A pixel of a mask is one byte, and 255 means ignored."""

_MAX_CATEGORIES = 10_000

NUM_SUMS = (28, 10)
"""UltraMNIST's sums of 0 to 27, and the variant of PatchGD's code."""


def _check_num_mask_classes(config: Config) -> None:
    if config.num_classes is not None and not 2 <= config.num_classes <= _MAX_CLASSES:
        raise ConfigError(
            f"num_classes={config.num_classes} must be 2 (background and one class) to "
            f"{_MAX_CLASSES}; count the values that a pixel of a mask can have"
        )


def _check_num_sums(config: Config) -> None:
    if config.num_classes not in (None, *NUM_SUMS):
        raise ConfigError(
            f"num_classes={config.num_classes} is not accepted by dataset=ultramnist; use "
            f"{' or '.join(map(str, NUM_SUMS))}"
        )


def _check_num_categories(config: Config) -> None:
    if config.num_classes is not None and not 1 <= config.num_classes <= _MAX_CATEGORIES:
        raise ConfigError(f"num_classes={config.num_classes} must be 1 to {_MAX_CATEGORIES}")


_LARGE_MOSAICS = {"image_size": 4096, "patch_size": 512}

DATASETS: Mapping[str, DatasetFacts] = {
    "panda": DatasetFacts(
        implementation="patchtrain.datasets.panda:Panda",
        task="classification",
    ),
    "ultramnist": DatasetFacts(
        implementation="patchtrain.datasets.ultramnist:UltraMnist",
        task="classification",
        reads=("num_classes",),
        check=_check_num_sums,
    ),
    "drive": DatasetFacts(
        implementation="patchtrain.datasets.drive:Drive",
        task="segmentation",
    ),
    "aerial": DatasetFacts(
        implementation="patchtrain.datasets.aerial:Aerial",
        task="segmentation",
        reads=("foreground",),
    ),
    "image_masks": DatasetFacts(
        implementation="patchtrain.datasets.image_masks:ImageMasks",
        task="segmentation",
        reads=("num_classes",),
        check=_check_num_mask_classes,
    ),
    "coco": DatasetFacts(
        implementation="patchtrain.datasets.coco:Coco",
        task="detection",
        reads=("num_classes",),
        check=_check_num_categories,
    ),
    "coco_mosaic": DatasetFacts(
        implementation="patchtrain.datasets.coco_mosaic:CocoMosaic",
        task="detection",
        defaults={**_LARGE_MOSAICS, "max_detections": 1000},
        reads=("num_classes", "mosaic_seed"),
        check=_check_num_categories,
    ),
    "soda": DatasetFacts(
        implementation="patchtrain.datasets.soda:Soda",
        task="detection",
        defaults={**_LARGE_MOSAICS, "max_detections": 1000},
    ),
    "tju": DatasetFacts(
        implementation="patchtrain.datasets.tju:Tju",
        task="detection",
        defaults=_LARGE_MOSAICS,
        reads=("num_classes",),
        check=_check_num_categories,
    ),
}
