"""What an image and its target hold, as a hash that does not depend on where the files lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from patchtrain.datasets.example import Example, Target
from patchtrain.datasets.mosaics import Mosaic
from patchtrain.datasets.targets.boxes import Annotation
from patchtrain.datasets.targets.masks import MaskFiles


def hash_of_mask(target: Target) -> str:
    """Return a hash of the bytes of a mask's files; empty for other targets.

    Raises:
        OSError: a file cannot be read.
    """
    if not isinstance(target, MaskFiles):
        return ""
    digest = hashlib.sha256()
    for path in target.paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def content_of(example: Example, height: int, width: int, mask_hash: str) -> str:
    """Return a hash of the image's size in px and bytes and of its label, mask or boxes.

    The image's own bytes are not read again: slides have gigabytes.

    Args:
        example: an image that can be read.
        height: of the image, in px.
        width: of the image, in px.
        mask_hash: as `hash_of_mask` gives it.
    """
    digest = hashlib.sha256(f"{height} {width} {_sizes(example)} {mask_hash}".encode())
    for piece in _label(example.target):
        digest.update(piece)
    return digest.hexdigest()[:32]


def _sizes(example: Example) -> list[object]:
    """Return what is known of the image's files without reading them."""
    if isinstance(example.image, Mosaic):
        return [(_num_bytes(tile.path), *tile.box) for tile in example.image.tiles]
    return [_num_bytes(example.image)]


def _num_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _label(target: Target) -> list[bytes]:
    if isinstance(target, MaskFiles):
        return [repr(target.reader).encode()]
    if isinstance(target, Annotation):
        objects = target.objects
        arrays = (objects.boxes, objects.labels, objects.ignored, target.areas)
        return [np.ascontiguousarray(array).tobytes() for array in arrays]
    return [str(int(target)).encode()]
