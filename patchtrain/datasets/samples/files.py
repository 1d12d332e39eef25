"""What the writers of sample data share: new folders that appear as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from patchtrain.errors import ConfigError
from patchtrain.files import check_local

MIN_IMAGE_SIZE_PX = 64

MAX_IMAGE_SIZE_PX = 32_768
"""Drawing a larger one would take more than 12 GB."""

JPEG_QUALITY = 90
"""Keeps the fine textures that tell grades and classes apart."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def check_numbers(num_images: int, image_size: int, seed: int) -> None:
    """Raise ConfigError unless a sample can be made with these numbers."""
    if num_images < 1:
        raise ConfigError(f"num_images={num_images} must be at least 1; raise it")
    if image_size < MIN_IMAGE_SIZE_PX:
        raise ConfigError(
            f"image_size={image_size} is too small for sample images; "
            f"use at least {MIN_IMAGE_SIZE_PX}"
        )
    if image_size > MAX_IMAGE_SIZE_PX:
        raise ConfigError(
            f"image_size={image_size} is too large for sample images; use at most "
            f"{MAX_IMAGE_SIZE_PX}"
        )
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative; use 0 or more")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` if the block succeeds, or else disappears."""
    check_local(out)
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"out={out}: holds files already; choose an empty or a new folder")
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise ConfigError(
            f"out={out}: cannot be written ({error.strerror}); choose a folder that can be"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def for_each(items: Iterable[_Item], write_one: Callable[[_Item], _Result]) -> list[_Result]:
    """Write all items, several at once; return the results in the order of the items."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(write_one, items))
