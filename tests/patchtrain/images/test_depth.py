"""Images of more than 8 bits a sample."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from patchtrain.images import Box, ValueRange, ValuesSeen, open_image

_RANGE = ValueRange(1000, 3000)
_SAMPLES = np.array([[0, 1000, 2000, 3000, 4095]], np.uint16).repeat(12, axis=0)
_COLOURS = np.repeat(_SAMPLES[..., None], 3, axis=2)


def _tiff(path, samples):
    tifffile.imwrite(path, samples, photometric="rgb" if samples.ndim == 3 else "minisblack")


def _png(path, samples):
    path.write_bytes(imagecodecs.png_encode(samples))


def _jp2(path, samples):
    path.write_bytes(
        imagecodecs.jpeg2k_encode(
            samples, level=0, codecformat="jp2", reversible=True, bitspersample=16
        )
    )


def _pgm(path, samples):
    path.write_bytes(b"P5 5 12 65535\n" + samples.astype(">u2").tobytes())


_KINDS = [
    ("a.tif", _tiff, _SAMPLES),
    ("a.tif", _tiff, _COLOURS),
    ("a.png", _png, _SAMPLES),
    ("a.png", _png, _COLOURS),
    ("a.jp2", _jp2, _SAMPLES),
    ("a.jp2", _jp2, _COLOURS),
    ("a.pgm", _pgm, _SAMPLES),
]
_NAMES = ["tiff grey", "tiff rgb", "png grey", "png rgb", "jp2 grey", "jp2 rgb", "pgm"]


@pytest.mark.parametrize("name, write, samples", _KINDS, ids=_NAMES)
def test_a_range_becomes_black_to_white(tmp_path, name, write, samples):
    write(tmp_path / name, samples)
    with open_image(tmp_path / name, _RANGE) as source:
        pixels = source.read(Box(0, 0, 12, 5))
        assert source.values_seen == ValuesSeen(0, 4095, 3000)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert np.all(pixels == pixels[..., :1])


@pytest.mark.parametrize("name, write, samples", _KINDS, ids=_NAMES)
def test_without_a_range_all_16_bits_count(tmp_path, name, write, samples):
    write(tmp_path / name, samples)
    with open_image(tmp_path / name) as source:
        pixels = source.read(Box(0, 0, 12, 5))
        assert source.values_seen == ValuesSeen(0, 4095, 65535)
    assert pixels[0, :, 0].tolist() == [0, 4, 8, 12, 16]


def test_8_bits_have_no_range(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), 200, np.uint8))
    with open_image(tmp_path / "a.tif", _RANGE) as source:
        assert np.all(source.read(Box(0, 0, 8, 8)) == 200)
        assert source.values_seen is None


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_jpeg_2000_of_other_depths_uses_its_own_range(tmp_path, bits):
    samples = (np.array([[0, 0.5, 1]]).repeat(12, axis=0) * (2**bits - 1)).round().astype("u2")
    path = tmp_path / "a.jp2"
    path.write_bytes(
        imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, bitspersample=bits)
    )
    with open_image(path) as source:
        assert source.read(Box(0, 0, 1, 3))[0, :, 0].tolist() == [0, 128, 255]


def test_class_numbers_in_jpeg_2000_of_12_bits_stay_as_they_are(tmp_path):
    numbers = np.arange(64, dtype=np.uint16).reshape(8, 8)
    path = tmp_path / "mask.jp2"
    path.write_bytes(imagecodecs.jpeg2k_encode(numbers, level=0, reversible=True, bitspersample=12))
    with open_image(path) as source:
        assert np.array_equal(source.read_stored().values, numbers)


@pytest.mark.parametrize("num_samples", [2, 4])
def test_alpha_of_16_bits_is_not_scaled_by_the_range(tmp_path, num_samples):
    samples = np.full((8, 8, num_samples), 3000, np.uint16)
    samples[..., -1] = 65535
    _png(tmp_path / "a.png", samples)
    with open_image(tmp_path / "a.png", _RANGE) as source:
        assert np.all(source.read(Box(0, 0, 8, 8)) == 255)
        assert source.values_seen == ValuesSeen(3000, 3000, 3000)
