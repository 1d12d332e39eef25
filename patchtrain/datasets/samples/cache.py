"""Generated sample data, made on first use and kept in the cache."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from patchtrain.cache import cache_dir
from patchtrain.datasets.base import DataSet


def sample_dir(name: str, data_set: DataSet, num_images: int, image_size: int, seed: int) -> Path:
    """Return the folder of this sample of the data set `name`, and generate it if needed.

    Processes may race: each generates in a folder of its own, and the first to finish moves it
    into place.

    Raises:
        ConfigError: a number is out of range, or the cache cannot be written.
    """
    version = f"v{data_set.sample_version}"
    # names of classes, package.module:Name, have a colon, which not every file system takes
    folder_name = f"{name.replace(':', '.')}-{version}-n{num_images}-px{image_size}-seed{seed}"
    folder = cache_dir() / "samples" / folder_name
    if not folder.is_dir():
        aside = folder.with_name(f".{folder_name}.{uuid.uuid4().hex}")
        try:
            data_set.write_sample(aside, num_images, image_size, seed)
            _put_in_place(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _put_in_place(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # no other process was faster: a real failure
            raise
