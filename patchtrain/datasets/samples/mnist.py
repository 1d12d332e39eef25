"""Handwritten digits of 28 px: MNIST's files, or the small scans that come with scikit-learn."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from patchtrain.errors import DataError

SIDE_PX = 28

_FILES = {"train": "train", "val": "t10k"}
"""Part -> how the names of its files begin."""

_MAGIC = {"images-idx3": 2051, "labels-idx1": 2049}
"""Kind of file -> the number that it begins with."""


class Digits(NamedTuple):
    """Scans of digits: ink is bright."""

    images: np.ndarray
    """uint8 [n, 28, 28]"""
    labels: np.ndarray
    """int64 [n], each 0 to 9 at least once"""


def read_mnist(folder: Path, part: str) -> Digits:
    """Return the digits of MNIST's idx files in `folder`, which may be gzipped.

    Args:
        part: `train`: the 60,000 for training; `val`: the 10,000 for testing (t10k).

    Raises:
        DataError: a file is missing, damaged or no idx file of this kind.
    """
    images, labels = (_read_idx(folder, _FILES[part], kind) for kind in _MAGIC)
    if images.shape[1:] != (SIDE_PX, SIDE_PX) or len(images) != len(labels):
        raise DataError(
            f"{folder}: has images {images.shape} and {len(labels)} labels of {_FILES[part]}; "
            f"give MNIST's files, one label for each image of {SIDE_PX} x {SIDE_PX} px"
        )
    missing = sorted(set(range(10)) - set(labels.tolist()))
    if missing or labels.max() > 9:
        raise DataError(
            f"{folder}: the labels of {_FILES[part]} are {sorted(set(labels.tolist()))}; each of "
            "0 to 9 must occur, and nothing else; give MNIST's files"
        )
    return Digits(images, labels.astype(np.int64))


def scanned_digits(part: str) -> Digits:
    """Return scikit-learn's scans of 8 px (Alpaydin and Kaynak, UCI), enlarged; the parts `train`
    and `val` share none.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    chosen = np.arange(("train", "val").index(part), len(loaded.target), 2)
    small = (loaded.images[chosen] * (255 / 16)).astype(np.uint8)
    size = (SIDE_PX, SIDE_PX)
    images = [Image.fromarray(each).resize(size, Image.Resampling.BICUBIC) for each in small]
    return Digits(np.stack(list(map(np.asarray, images))), loaded.target[chosen].astype(np.int64))


def _read_idx(folder: Path, begins: str, kind: str) -> np.ndarray:
    path = _idx_path(folder, begins, kind)
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read ({reason}); download it again") from None
    found = int.from_bytes(content[:4], "big")
    if len(content) < 4 or found != _MAGIC[kind]:
        raise DataError(
            f"{path}: begins with the number {found}, not with {_MAGIC[kind]}; give MNIST's "
            f"{begins}-{kind}-ubyte"
        )
    header = 4 * (1 + content[3])  # the last byte of the number is that of axes
    axes = content[4:header]
    shape = [int.from_bytes(axes[at : at + 4], "big") for at in range(0, len(axes), 4)]
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"{path}: has {len(content)} bytes, which are not what its header says; download it "
            "again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _idx_path(folder: Path, begins: str, kind: str) -> Path:
    name = f"{begins}-{kind}-ubyte"
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{folder}: has neither {name} nor {name}.gz; give a folder with MNIST's four files"
    )
