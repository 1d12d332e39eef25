"""Data sets by name: found or generated, checked and split. Knows nothing of models or training."""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets import aerial, coco, drive, image_masks, panda, soda, tju
from patchtrain.datasets.augment import Augmentation
from patchtrain.datasets.base import Example, ImageData, ImageDataset
from patchtrain.datasets.cache import sample_dir
from patchtrain.datasets.listing import Listing
from patchtrain.datasets.loading import load_splits, load_whole, smallest_side_px
from patchtrain.datasets.samples import WRITERS, write_panda_sample
from patchtrain.datasets.split import read_split, write_split
from patchtrain.errors import ConfigError

__all__ = [
    "Augmentation",
    "Example",
    "ImageData",
    "ImageDataset",
    "class_names",
    "list_images",
    "load_all",
    "load_dataset",
    "num_classes",
    "read_split",
    "smallest_side_px",
    "write_panda_sample",
    "write_split",
]

_LISTS = {
    "panda": panda.list_panda,
    "drive": drive.list_drive,
    "aerial": aerial.list_aerial,
    "image_masks": image_masks.list_image_masks,
    "coco": coco.list_coco,
    "coco_mosaic": coco.list_coco_mosaic,
    "soda": soda.list_soda,
    "tju": tju.list_tju,
}

_CLASS_NAMES = {
    "panda": lambda config: panda.CLASS_NAMES,
    "drive": lambda config: drive.CLASS_NAMES,
    "aerial": aerial.class_names,
    "image_masks": image_masks.class_names,
    "coco": coco.class_names,
    "coco_mosaic": coco.class_names,
    "soda": soda.class_names,
    "tju": tju.class_names,
}


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes that `config` tells apart, without looking at any data.

    Raises:
        ConfigError: `foreground` is no class of the data set.
    """
    return _CLASS_NAMES[config.dataset](config)


def num_classes(config: TrialConfig) -> int:
    """Return the number of classes that `config` tells apart, without looking at any data.

    Raises:
        ConfigError: `foreground` is no class of the data set.
    """
    return len(class_names(config))


def load_dataset(config: TrialConfig) -> ImageData:
    """Read, check and split the data set that `config` names.

    Without `data_dir`: generated sample data of `image_size`, made on first use in the cache.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: a setting does not go with the data set, or sample data cannot be had.
    """
    listing = list_images(config)
    return load_splits(config, _data_dir(config), listing, is_sample=config.data_dir is None)


def list_images(config: TrialConfig) -> Listing:
    """Return the images of the data set that `config` names, without opening any.

    Raises: as `load_all`.
    """
    return _LISTS[config.dataset](config, _data_dir(config))


def load_all(config: TrialConfig, listing: Listing | None = None) -> ImageData:
    """Read and check the data set that `config` names, its usable images as `test`.

    Args:
        listing: the images wanted, others are not opened; None: all.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: a setting does not go with the data set, or sample data cannot be had.
    """
    listing = list_images(config) if listing is None else listing
    return load_whole(config, _data_dir(config), listing, is_sample=config.data_dir is None)


def _data_dir(config: TrialConfig) -> Path:
    if config.data_dir is not None:
        return Path(config.data_dir).expanduser()
    if config.dataset not in WRITERS:
        layout = {
            "image_masks": "images/ and masks/",
            "coco": "annotations/instances_train.json and train/",
        }[config.dataset]
        raise ConfigError(
            f"data_dir is not set: there is no sample data for dataset={config.dataset}; set "
            f"data_dir to a folder with {layout}"
        )
    return sample_dir(
        config.dataset, config.sample_num_images, config.image_size, config.sample_seed
    )
