"""Reads regions and thumbnails of images of any size; knows nothing of data sets or patches.

One module per file kind, listed in `_READERS`; a further kind is a module with a `READER` and a
line there. All give uint8 RGB arrays [height, width, 3].
"""

from __future__ import annotations

from pathlib import Path

from patchtrain.errors import DataError
from patchtrain.images import picture, slide, tiff
from patchtrain.images.depth import ValueRange, ValuesSeen
from patchtrain.images.fit import fit_labels, fit_square, place_in_square, unfit_square
from patchtrain.images.source import (
    UPRIGHT,
    WHITE,
    Box,
    ImageSource,
    Reader,
    Stored,
    decoding,
)

__all__ = [
    "SUFFIXES",
    "UPRIGHT",
    "WHITE",
    "Box",
    "ImageSource",
    "Stored",
    "ValueRange",
    "ValuesSeen",
    "fit_labels",
    "fit_square",
    "open_image",
    "place_in_square",
    "unfit_square",
]

_READERS: tuple[Reader, ...] = (slide.READER, tiff.READER, picture.READER)
"""The first that takes a file opens it."""

SUFFIXES = frozenset(suffix for reader in _READERS for suffix in reader.suffixes)
"""Suffixes of the names of images, in lower case."""


def open_image(path: str | Path, value_range: ValueRange | None = None) -> ImageSource:
    """Open the image `path` with the reader for this kind of file.

    Transparent pixels are laid on white, 16-bit samples scaled to 8 bits, grey turned into RGB.

    Args:
        path: the file, or a folder that is an image.
        value_range: what becomes black and white where samples have more than 8 bits; None: as the
            file declares it, else the whole range of its depth.

    Raises:
        DataError: missing, empty, a truncated TIFF, not an image, or of a kind that cannot be read.
            Damaged pixels of other files are found when they are read.
    """
    path = Path(path)
    with decoding(path):  # asking about a file fails, too, if its folder may not be entered
        exists, is_file = path.exists(), path.is_file()
    if not exists:
        raise DataError(f"{path}: does not exist; restore it, or correct the path")
    if is_file and path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); restore it from the original")
    with decoding(path):
        for reader in _READERS:
            if reader.is_folder != is_file and reader.takes(path):
                source = reader.open(path)
                if value_range is not None:
                    source.use_values(value_range)
                return source
    raise DataError(f"{path}: is a folder, not an image; replace it with the image file")
