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


def _half_written(path, last: np.ndarray, **options):
    """Write two tiles beside each other: one that was never written, and `last`."""
    height, width = last.shape[:2]

    def tiles():
        yield from (b"", last.tobytes())

    options.setdefault("photometric", "rgb" if last.ndim == 3 else "minisblack")
    tifffile.imwrite(
        path, tiles(), shape=(height, 2 * width, *last.shape[2:]), dtype=last.dtype,
        tile=(height, width), compression="none", metadata=None, **options,
    )  # fmt: skip
    return path


_NO_DATA = 42113
_WRITTEN = np.full((16, 16), 1, np.uint8)


@pytest.mark.parametrize("no_data, filled", [(None, 0), ("0", 0), ("255", 255), ("7 ", 7)])
def test_unwritten_numbers_are_the_no_data_value_or_0(tmp_path, no_data, filled):
    tags = [] if no_data is None else [(_NO_DATA, "s", 0, no_data, True)]
    path = _half_written(tmp_path / "mask.tif", _WRITTEN, extratags=tags)
    with open_image(path) as source:
        values = source.read_stored().values
    assert np.all(values[:, :16] == filled)
    assert np.all(values[:, 16:] == 1)


@pytest.mark.parametrize("no_data", ["-9999", "nan", "300", "0.5"])
def test_a_no_data_value_that_the_samples_cannot_hold_is_refused(tmp_path, no_data):
    tags = [(_NO_DATA, "s", 0, no_data, True)]
    path = _half_written(tmp_path / "mask.tif", _WRITTEN, extratags=tags)
    with open_image(path) as source, pytest.raises(DataError, match=f"no-data value '{no_data}'"):
        source.read_stored()


def test_unwritten_numbers_where_0_is_white_are_refused(tmp_path):
    path = _half_written(tmp_path / "mask.tif", _WRITTEN, photometric="miniswhite")
    with open_image(path) as source, pytest.raises(DataError, match="were never written, and 0"):
        source.read_stored()


_SCALE_OF_PIXEL = (33550, "d", 3, (1.0, 1.0, 0.0), True)


@pytest.mark.parametrize(
    "last, options, filled",
    [
        (np.full((16, 16, 3), 9, np.uint8), {}, 255),
        (np.full((16, 16, 3), 9, np.uint8), {"extratags": [_SCALE_OF_PIXEL]}, 0),
        (np.full((16, 16, 3), 9, np.uint8), {"extratags": [(_NO_DATA, "s", 0, "51", True)]}, 51),
        (np.full((16, 16, 4), 9, np.uint8), {"extrasamples": ["unspecified"]}, 0),
        (np.full((16, 16, 4), 255, np.uint8), {"extrasamples": ["unassalpha"]}, 255),
        (np.full((16, 16, 3), 9, np.uint16), {}, 0),
    ],
    ids=["slide", "map", "no data", "infrared", "alpha", "16 bits"],
)
def test_unwritten_tiles_are_white_in_slides_and_no_data_elsewhere(tmp_path, last, options, filled):
    path = _half_written(tmp_path / "a.tif", last, **options)
    with open_image(path) as source:
        assert np.all(source.read(Box(0, 0, 16, 16)) == filled)


@pytest.mark.parametrize(
    "codec", [None, "lzw", "deflate", "zstd", "packbits", "lzma", "webp", "jpeg2000", "jpegxl"]
)
def test_ycbcr_is_read_from_jpeg_only(tmp_path, codec):
    pixels = np.full((32, 32, 3), (80, 90, 240), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels, photometric="ycbcr", compression=codec, subsampling=(1, 1), tile=(16, 16)
    )
    with pytest.raises(DataError, match=r"a\.tif: YCbCr \(\w+, 3 samples a pixel\) cannot be read"):
        open_image(path)


@pytest.mark.parametrize("codec", ["lzw", "zstd", "webp", "jpeg2000", "jpegxl", "jpeg", "packbits"])
def test_rgb_is_read_from_every_codec(tmp_path, codec):
    image = smooth_image(64, 64)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression=codec)
    with open_image(tmp_path / "a.tif") as source:
        assert_close(source.read(Box(0, 0, 64, 64)), image, levels=3)


_TWELVE_BITS = np.array([[0, 2048, 4095]], np.uint16).repeat(16, axis=0)


@pytest.mark.parametrize("declared", [4095, (4095, 4095, 4095)])
def test_the_largest_value_that_a_file_declares_becomes_white(tmp_path, declared):
    num = len(declared) if isinstance(declared, tuple) else 1
    pixels = _TWELVE_BITS if num == 1 else np.repeat(_TWELVE_BITS[..., None], 3, axis=2)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb" if num == 3 else "minisblack",
        extratags=[(281, "H", num, declared, True)],
    )  # fmt: skip
    with open_image(tmp_path / "a.tif") as source:
        assert source.read(Box(0, 0, 1, 3))[0, :, 0].tolist() == [0, 128, 255]


def test_values_above_the_largest_that_a_file_declares_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _TWELVE_BITS, extratags=[(281, "H", 1, 1000, True)])
    with open_image(tmp_path / "a.tif") as source, pytest.raises(DataError) as refused:
        source.read(Box(0, 0, 16, 3))
    assert "values up to 4095, but declares 1000" in str(refused.value)
    assert "value_range=0:4095" in str(refused.value)


def test_colour_maps_of_8_bits_are_read(tmp_path):
    colours = np.tile(np.arange(256), (3, 1)).astype(np.uint16)
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=colours)
    with open_image(tmp_path / "a.tif") as source:
        assert np.array_equal(source.read(Box(0, 0, 16, 16))[..., 1], pixels)
