"""Decodes every image once before training; knows nothing of labels or splits.

Damage found now costs a minute, damage found in the last epoch a day. What was found good is
remembered in the cache, so that only the first trial of a sweep pays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from patchtrain.cache import cache_dir
from patchtrain.datasets.base import Example
from patchtrain.errors import DataError
from patchtrain.images import fit_square, open_image
from patchtrain.record import atomic_path

_MAX_THREADS = 8
"""More would hold too many large images at once."""

_log = logging.getLogger(__name__)


class _Good(NamedTuple):
    """A file that was decoded: the file's state then, and the image's size in px."""

    size_bytes: int
    mtime_ns: int
    height: int
    width: int


def find_bad_images(
    examples: Sequence[Example], image_size: int, min_side_px: int
) -> dict[str, str]:
    """Return image_id -> why the image cannot be used, in the order of `examples`.

    An image is bad if it cannot be decoded at `image_size`, or if a side is below `min_side_px`.
    """
    memory = _Memory(examples, image_size)
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    bad = {}
    try:
        outcomes = pool.map(lambda example: _check(example, image_size, memory), examples)
        for example, outcome in zip(examples, outcomes, strict=True):
            if isinstance(outcome, str):
                bad[example.image_id] = outcome
            elif min(outcome.height, outcome.width) < min_side_px:
                bad[example.image_id] = (
                    f"{example.path}: is {outcome.height} x {outcome.width} px, smaller than "
                    f"patch_size={min_side_px}; lower patch_size, or take the image out"
                )
    finally:  # also when interrupted: what was checked need not be checked again
        pool.shutdown(cancel_futures=True)
        memory.save()
    return bad


def _check(example: Example, image_size: int, memory: _Memory) -> _Good | str:
    """Return the facts of a good image, or why it is bad."""
    known = memory.recall(example.path)
    if known is not None:
        return known
    try:
        with open_image(example.path) as source:
            fit_square(source, image_size)
            return memory.keep(example.path, source.height, source.width)
    except DataError as error:
        return str(error)


class _Memory:
    """What earlier checks of these images found good; one file per folder and image size.

    Losing it only costs time: a damaged file is ignored, and one that cannot be written is not.
    """

    def __init__(self, examples: Sequence[Example], image_size: int) -> None:
        folders = sorted({str(example.path.parent.absolute()) for example in examples})
        key = hashlib.sha256("\n".join(folders).encode()).hexdigest()[:16]
        self._path = cache_dir() / "checked" / f"v1-px{image_size}-{key}.json"
        self._known = _read_good(self._path)
        self._new: dict[str, _Good] = {}

    def recall(self, path: Path) -> _Good | None:
        """Return what is known of the file in its present state."""
        good = self._known.get(str(path.absolute()))
        return good if good is not None and good[:2] == _state(path) else None

    def keep(self, path: Path, height: int, width: int) -> _Good:
        """Remember a good image."""
        good = _Good(*_state(path), height, width)
        self._new[str(path.absolute())] = good
        return good

    def save(self) -> None:
        """Write what is new, with what other processes wrote meanwhile."""
        if not self._new:
            return
        try:
            with atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps(_read_good(self._path) | self._new))
        except OSError as error:
            _log.info("image checks are not remembered: %s", error)


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)  # `open_image` tells what is wrong
    return (stat.st_size, stat.st_mtime_ns)


def _read_good(path: Path) -> dict[str, _Good]:
    try:
        return {
            name: _Good(*map(int, entry)) for name, entry in json.loads(path.read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
