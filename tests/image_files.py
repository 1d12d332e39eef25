"""Image files made for tests of `patchtrain.images`, and what tests ask of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchtrain.errors import DataError
from patchtrain.images import fit_square, open_image


def smooth_image(height: int, width: int) -> np.ndarray:
    """Return colours that vary slowly, so that codecs and resizing change them little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


def write_pyramid(path: Path, image: np.ndarray, factors=(1, 2, 4), **options) -> Path:
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as tiff:
        for factor in factors:
            level = np.asarray(Image.fromarray(image).reduce(factor))
            tiff.write(
                level, subfiletype=int(factor > 1), photometric="rgb", metadata=None, **options
            )
    return path


def assert_close(actual: np.ndarray, expected: np.ndarray, levels: float) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == np.uint8
    assert np.abs(actual.astype(int) - expected).mean() < levels


def decode(path: Path, size_px: int = 400) -> np.ndarray:
    with open_image(path) as source:
        return fit_square(source, size_px)


def assert_one_line_error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message
