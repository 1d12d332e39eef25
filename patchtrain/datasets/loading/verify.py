"""Decodes every image, and its mask, once before training; knows nothing of splits.

Damage found now costs a minute, damage found in the last epoch a day. Good images are remembered in
the cache, so that only the first trial of a sweep pays.
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

import numpy as np

from patchtrain.cache import cache_dir
from patchtrain.datasets.example import Example
from patchtrain.datasets.loading.contents import content_of, hash_of_mask
from patchtrain.datasets.loading.looks import Look
from patchtrain.datasets.targets.masks import IGNORED, MaskFiles
from patchtrain.errors import DataError
from patchtrain.files import atomic_path

_MAX_THREADS = 8
"""More would hold too many large images in memory at once."""

_log = logging.getLogger(__name__)


class _Good(NamedTuple):
    """An example that was decoded: the state of its files then, and the size of the image in px."""

    state: str
    height: int
    width: int
    mask_hash: str
    look: Look


class Checked(NamedTuple):
    """What came of decoding images."""

    bad: dict[str, str]
    """image_id -> why the image cannot be used, in the order of the examples."""
    looks: dict[str, Look]
    """image_id -> what a good image looks like."""
    contents: dict[str, str]
    """image_id -> hash of what a good image and its target hold."""


def check_images(examples: Sequence[Example], image_size: int, min_side_px: int) -> Checked:
    """Decode all `examples`, or recall what was found earlier.

    An image is bad if it or its mask cannot be decoded at `image_size`, if the two do not match, if
    the mask ignores every pixel, or if a side is below `min_side_px`.
    """
    memory = _Memory(examples, image_size)
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    checked = Checked({}, {}, {})
    try:
        outcomes = pool.map(lambda example: _check(example, image_size, memory), examples)
        for example, outcome in zip(examples, outcomes, strict=True):
            if isinstance(outcome, str):
                checked.bad[example.image_id] = outcome
            elif min(outcome.height, outcome.width) < min_side_px:
                checked.bad[example.image_id] = (
                    f"{example.path}: is {outcome.height} x {outcome.width} px, smaller than "
                    f"patch_size={min_side_px}; lower patch_size, or take the image out"
                )
            else:
                checked.looks[example.image_id] = outcome.look
                size = (outcome.height, outcome.width)
                checked.contents[example.image_id] = content_of(example, *size, outcome.mask_hash)
    finally:  # also when interrupted, so that nothing is checked twice
        pool.shutdown(cancel_futures=True)
        memory.save()
    return checked


def _check(example: Example, image_size: int, memory: _Memory) -> _Good | str:
    """Return state, size and look of a good image, or why it is bad."""
    known = memory.recall(example)
    if known is not None:
        return known
    state = _state(example)  # taken first: a file that changes meanwhile is decoded again next time
    try:
        fitted, values = example.inspect(image_size)
        mask_hash = hash_of_mask(example.target)
    except DataError as error:
        return str(error)
    except OSError as error:  # between decoding a file and reading it again
        return f"{error.filename}: cannot be read ({error.strerror}); check the disk"
    if isinstance(fitted.target, np.ndarray) and np.all(fitted.target == IGNORED):
        files = " and ".join(map(str, example.paths[1:]))
        return f"{files}: leaves no pixel to learn from; correct it, or take the image out"
    look = Look.of(fitted, values)
    return memory.keep(example, _Good(state, fitted.height, fitted.width, mask_hash, look))


class _Memory:
    """The images that earlier checks found good; one file per folder and image size.

    Losing it only costs time: errors in reading or writing this file are ignored.
    """

    def __init__(self, examples: Sequence[Example], image_size: int) -> None:
        folders = {str(example.path.parent.absolute()) for example in examples}
        # the same files may be good masks to one reader and bad ones to another
        readers = {repr(e.target.reader) for e in examples if isinstance(e.target, MaskFiles)}
        ranges = {str(example.value_range) for example in examples}
        named = "\n".join(sorted(folders) + sorted(readers) + sorted(ranges))
        key = hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:16]
        self._path = cache_dir() / "checked" / f"v3-px{image_size}-{key}.json"
        self._known = _read_good(self._path)
        self._new: dict[str, _Good] = {}

    def recall(self, example: Example) -> _Good | None:
        """Return the earlier result for the example, if its files have not changed since."""
        good = self._known.get(str(example.path.absolute()))
        return good if good is not None and good.state == _state(example) else None

    def keep(self, example: Example, good: _Good) -> _Good:
        """Remember a good image."""
        self._new[str(example.path.absolute())] = good
        return good

    def save(self) -> None:
        """Add the new results to the file, to which other processes may have added theirs."""
        if not self._new:
            return
        try:
            with atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps(_read_good(self._path) | self._new))
        except OSError as error:
            _log.info("image checks are not remembered: %s", error)


def _state(example: Example) -> str:
    """Return a text that changes whenever any file of the example does."""
    lines = []
    for path in example.paths:
        try:
            stat = path.stat()
            lines.append(f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}")
        except OSError:
            lines.append("")  # reading it will tell what is wrong
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def _read_good(path: Path) -> dict[str, _Good]:
    try:
        return {
            name: _Good(str(state), int(height), int(width), str(mask_hash), Look.from_json(look))
            for name, (state, height, width, mask_hash, look) in json.loads(
                path.read_bytes()
            ).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
