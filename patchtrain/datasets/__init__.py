"""Data sets by name: found or generated, checked and split. Knows nothing of models or training.

`finding` lists images, `loading` checks and splits them, `targets` are what images are labelled
with, `samples` are generated data. Everything else about one data set is in the file of its name.
"""

from __future__ import annotations

from pathlib import Path

from patchtrain import catalog
from patchtrain.config import TrialConfig
from patchtrain.datasets.base import DataSet
from patchtrain.datasets.example import Example
from patchtrain.datasets.finding.listing import Listing, check_listing
from patchtrain.datasets.loading.augment import Augmentation
from patchtrain.datasets.loading.image_data import ImageData, ImageDataset
from patchtrain.datasets.loading.load import load_splits, load_whole, smallest_side_px
from patchtrain.datasets.loading.split import read_split, write_split
from patchtrain.datasets.samples.cache import sample_dir
from patchtrain.errors import ConfigError
from patchtrain.extension import own_code

__all__ = [
    "Augmentation",
    "DataSet",
    "Example",
    "ImageData",
    "ImageDataset",
    "Listing",
    "class_names",
    "data_set",
    "list_images",
    "load_all",
    "load_dataset",
    "num_classes",
    "read_split",
    "sampled_names",
    "smallest_side_px",
    "write_split",
]


def data_set(name: str) -> DataSet:
    """Return the data set `name`, one of ours or `package.module:Name` of the user's own.

    Raises:
        ConfigError: a class of the user's own that cannot be imported or made, or is no `DataSet`.
    """
    kind = catalog.implementation("dataset", name, DataSet)
    with own_code("dataset", name):
        return kind()


def sampled_names() -> tuple[str, ...]:
    """Return the names of the data sets of which samples can be generated."""
    return tuple(name for name in catalog.DATASETS if data_set(name).has_sample())


def class_names(config: TrialConfig) -> tuple[str, ...]:
    """Return the names of the classes that `config` distinguishes; looks at no data.

    Raises:
        ConfigError: a setting does not fit the data set.
    """
    with own_code("dataset", config.dataset):
        return tuple(data_set(config.dataset).class_names(config))


def num_classes(config: TrialConfig) -> int:
    """Return the number of classes that `config` distinguishes; looks at no data.

    Raises:
        ConfigError: a setting does not fit the data set.
    """
    return len(class_names(config))


def load_dataset(config: TrialConfig) -> ImageData:
    """Read, check and split the data set that `config` names.

    Without `data_dir`: generated sample data of `image_size`, made on first use in the cache.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: a setting does not fit the data set, or there is no sample data.
    """
    listing = list_images(config)
    return load_splits(config, _data_dir(config), listing, is_sample=config.data_dir is None)


def list_images(config: TrialConfig) -> Listing:
    """Return the images of the data set that `config` names; opens none of them.

    Raises: as `load_all`.
    """
    data_dir = _data_dir(config)
    with own_code("dataset", config.dataset):
        listing = data_set(config.dataset).list_images(config, data_dir)
    if catalog.is_own(config.dataset):
        check_listing(listing, config.dataset, class_names(config))
    return listing


def load_all(config: TrialConfig, listing: Listing | None = None) -> ImageData:
    """Read and check the data set that `config` names, with all usable images as `test`.

    Args:
        config: names the data set.
        listing: the images wanted, others are not opened; None: all.

    Raises:
        DataError: something is missing, damaged or inconsistent; one line.
        ConfigError: a setting does not fit the data set, or there is no sample data.
    """
    listing = list_images(config) if listing is None else listing
    return load_whole(config, _data_dir(config), listing, is_sample=config.data_dir is None)


def _data_dir(config: TrialConfig) -> Path:
    if config.data_dir is not None:
        return Path(config.data_dir).expanduser()
    wanted = data_set(config.dataset)
    if not wanted.has_sample():
        raise ConfigError(
            f"data_dir is not set: there is no sample data for dataset={config.dataset}; set "
            f"data_dir to a folder with {wanted.layout}"
        )
    numbers = (config.sample_num_images, config.image_size, config.sample_seed)
    with own_code("dataset", config.dataset):
        return sample_dir(config.dataset, wanted, *numbers)
