"""TIFF files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_files import assert_close, assert_one_line_error, smooth_image, write_pyramid

from patchtrain.errors import DataError
from patchtrain.images import Box, open_image


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 64), "compression": "jpeg"},
        {"tile": (64, 64), "compression": "deflate", "predictor": True},
        {"tile": (64, 64), "planarconfig": "separate"},
        {"rowsperstrip": 7, "compression": "lzw"},
        {"tile": (64, 64), "bigtiff": True},
    ],
    ids=["jpeg_tiles", "deflate_tiles", "planes", "lzw_strips", "bigtiff"],
)
def test_tiff_regions_equal_the_pixels_written(tmp_path, options):
    image = smooth_image(300, 400)
    if options.get("planarconfig") == "separate":
        path = tmp_path / "planes.tiff"
        tifffile.imwrite(path, np.moveaxis(image, 2, 0), photometric="rgb", **options)
    else:
        path = write_pyramid(tmp_path / "a.tiff", image, **options)
    with open_image(path) as source:
        assert (source.height, source.width) == (300, 400)
        assert_close(source.read((50, 60, 130, 200)), image[50:180, 60:260], levels=3)
        assert_close(source.read(Box(0, 0, 300, 400)), image, levels=3)


@pytest.mark.parametrize(
    "pixels, options, colour",
    [
        (np.full((8, 8), 0x8080, np.uint16), {}, (128, 128, 128)),
        (np.full((8, 8), 40, np.uint8), {"photometric": "miniswhite"}, (215, 215, 215)),
        (np.full((8, 8, 3), 0xFFFF, np.uint16), {"photometric": "rgb"}, (255, 255, 255)),
        (np.ones((8, 8), bool), {"photometric": "minisblack"}, (255, 255, 255)),
        (
            np.full((8, 8, 4), (255, 0, 0, 51), np.uint8),
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
            (255, 204, 204),
        ),
        (
            np.full((8, 8, 4), (51, 0, 0, 51), np.uint8),
            {"photometric": "rgb", "extrasamples": ["assocalpha"]},
            (255, 204, 204),
        ),
        (
            np.full((8, 8), 7, np.uint8),
            {
                "photometric": "palette",
                "colormap": np.tile(np.arange(256) * 256, (3, 1)).astype("u2"),
            },
            (7, 7, 7),
        ),
    ],
    ids=["grey16", "miniswhite", "rgb16", "bilevel", "alpha", "premultiplied", "palette"],
)
def test_tiff_kinds_become_rgb(tmp_path, pixels, options, colour):
    tifffile.imwrite(tmp_path / "a.tiff", pixels, **options)
    with open_image(tmp_path / "a.tiff") as source:
        assert source.read((0, 0, 8, 8))[3, 3].tolist() == list(colour)


def test_tiff_tiles_never_written_are_background(tmp_path):
    def tiles():
        yield from (np.full((16, 16, 3), 9, np.uint8).tobytes(), b"")

    tifffile.imwrite(
        tmp_path / "a.tiff", tiles(), shape=(16, 32, 3), dtype="u1", tile=(16, 16),
        photometric="rgb", compression="none",
    )  # fmt: skip
    with open_image(tmp_path / "a.tiff") as source:
        pixels = source.read((0, 0, 16, 32))
    assert np.all(pixels[:, :16] == 9)
    assert np.all(pixels[:, 16:] == 255)


def test_floating_point_tiff_is_an_error_with_a_remedy(tmp_path):
    tifffile.imwrite(tmp_path / "a.tiff", np.zeros((8, 8), np.float32))
    with pytest.raises(DataError, match=r"a\.tiff: 32-bit float32 samples .* convert it"):
        open_image(tmp_path / "a.tiff")


def test_tiff_whose_last_byte_is_lost_is_an_error(pyramid):
    pyramid.write_bytes(pyramid.read_bytes()[:-1])
    assert "cut short" in assert_one_line_error(pyramid)


def test_tiff_with_an_erased_tile_is_an_error(pyramid):
    raw = bytearray(pyramid.read_bytes())
    with tifffile.TiffFile(pyramid) as tiff:
        start, size = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
    raw[start : start + size] = bytes(size)
    pyramid.write_bytes(raw)
    assert_one_line_error(pyramid)


def test_a_stack_of_images_is_refused(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((5, 16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match=r"stack\.tif: is a stack of 5 images; save each"):
        open_image(path)


def test_channels_that_are_no_colours_are_refused(tmp_path):
    path = tmp_path / "bands.tif"
    tifffile.imwrite(
        path, np.zeros((16, 16, 5), np.uint8), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(DataError, match="an image of 5 channels that are not declared as colours"):
        open_image(path)


def test_a_fourth_channel_beside_colours_is_left_out(tmp_path):
    path = tmp_path / "infrared.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 4), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])
    with open_image(path) as source:
        assert np.array_equal(source.read((0, 0, 16, 16)), pixels[..., :3])
