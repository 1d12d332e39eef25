"""Data sets by name: found or generated, checked and split. Knows nothing of models or training."""

from __future__ import annotations

from pathlib import Path

from patchtrain.config import TrialConfig
from patchtrain.datasets.base import ClassificationData, Example, ImageDataset
from patchtrain.datasets.cache import panda_sample_dir
from patchtrain.datasets.panda import CLASS_NAMES, load_all_panda, load_panda
from patchtrain.datasets.samples import write_panda_sample
from patchtrain.datasets.split import read_split, write_split

__all__ = [
    "ClassificationData",
    "Example",
    "ImageDataset",
    "load_all",
    "load_dataset",
    "num_classes",
    "read_split",
    "write_panda_sample",
    "write_split",
]

_LOADERS = {"panda": load_panda}
_ALL_LOADERS = {"panda": load_all_panda}
_SAMPLE_DIRS = {"panda": panda_sample_dir}
_NUM_CLASSES = {"panda": len(CLASS_NAMES)}


def num_classes(name: str) -> int:
    """Return the number of classes of the data set `name`, which need not be there."""
    return _NUM_CLASSES[name]


def load_dataset(config: TrialConfig) -> ClassificationData:
    """Read, check and split the data set that `config` names.

    Without `data_dir`: generated sample data of `image_size`, made on first use in the cache.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: the sample data cannot be generated.
    """
    load = _LOADERS[config.dataset]
    return load(config, _data_dir(config), is_sample=config.data_dir is None)


def load_all(config: TrialConfig) -> ClassificationData:
    """Read and check the data set that `config` names, all of its usable images as `test`.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: the sample data cannot be generated.
    """
    load = _ALL_LOADERS[config.dataset]
    return load(config, _data_dir(config), is_sample=config.data_dir is None)


def _data_dir(config: TrialConfig) -> Path:
    if config.data_dir is not None:
        return Path(config.data_dir).expanduser()
    make = _SAMPLE_DIRS[config.dataset]
    return make(config.sample_num_images, config.image_size, config.sample_seed)
