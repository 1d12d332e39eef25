"""Regions and thumbnails, whatever the file kind."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchtrain.images import open_image


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 0, 5), (296, 0, 5, 5), (0, 396, 5, 5)])
def test_read_rejects_a_box_outside_the_image(pyramid, box):
    with open_image(pyramid) as source, pytest.raises(ValueError, match="does not lie inside"):
        source.read(box)


def test_thumbnail_reads_the_smallest_level_that_is_large_enough(tmp_path):
    path = tmp_path / "levels.tiff"
    with tifffile.TiffWriter(path) as tiff:
        for size, grey in ((256, 50), (128, 100), (64, 150)):
            level = np.full((size, size, 3), grey, np.uint8)
            tiff.write(level, tile=(64, 64), subfiletype=int(size < 256), photometric="rgb")
    with open_image(path) as source:
        for wanted, grey in ((300, 50), (256, 50), (130, 50), (128, 100), (65, 150), (30, 150)):
            assert np.all(source.thumbnail(wanted, wanted) == grey), wanted


def test_thumbnail_is_antialiased(tmp_path):
    rows = np.zeros((256, 256, 3), np.uint8)
    rows[::2] = 200
    Image.fromarray(rows).save(tmp_path / "stripes.png")
    with open_image(tmp_path / "stripes.png") as source:
        assert np.abs(source.thumbnail(30, 30).astype(int) - 100).max() <= 3


def test_thumbnail_in_strips_equals_thumbnail_at_once(pyramid, monkeypatch):
    with open_image(pyramid) as source:
        at_once = source.thumbnail(9, 13)
        monkeypatch.setattr("patchtrain.images.source._STRIP_PX", 100 * 16)
        assert np.array_equal(source.thumbnail(9, 13), at_once)


def test_thumbnail_of_no_pixels_is_an_error(pyramid):
    with open_image(pyramid) as source, pytest.raises(ValueError, match="no pixels"):
        source.thumbnail(0, 5)
