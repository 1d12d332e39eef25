"""Shared by tests of `patchtrain.images`."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import smooth_image, write_pyramid


@pytest.fixture
def pyramid(tmp_path) -> Path:
    return write_pyramid(
        tmp_path / "slide.tiff", smooth_image(300, 400), tile=(64, 64), compression="jpeg"
    )
