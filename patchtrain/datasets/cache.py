"""Generated sample data, made on first use and kept in the cache."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from patchtrain.cache import cache_dir
from patchtrain.datasets.samples import WRITERS


def sample_dir(dataset: str, num_images: int, image_size: int, seed: int) -> Path:
    """Return the folder of this sample of a data set, generating it if it is not there yet.

    Processes may race: each generates aside, the first to finish puts its folder in place.

    Args:
        dataset: one of `WRITERS`.

    Raises:
        ConfigError: a number is out of range, or the cache cannot be written.
    """
    writer = WRITERS[dataset]
    name = f"{dataset}-v{writer.version}-n{num_images}-px{image_size}-seed{seed}"
    folder = cache_dir() / "samples" / name
    if not folder.is_dir():
        aside = folder.with_name(f".{name}.{uuid.uuid4().hex}")
        try:
            writer.write(aside, num_images, image_size, seed)
            _put_in_place(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _put_in_place(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # nobody else was faster: a real failure
            raise
