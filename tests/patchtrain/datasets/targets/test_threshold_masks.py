"""Masks of two classes, bright and dark."""

import numpy as np
import pytest
from image_data import error_of_mask, half_mask, real, write
from PIL import Image

from patchtrain.datasets.targets.masks import (
    ThresholdMask,
)
from patchtrain.errors import DataError


@pytest.mark.parametrize("value, expected", [(0, 0), (127, 0), (128, 1), (254, 1), (255, 1)])
def test_greys_above_127_are_the_class(tmp_path, value, expected):
    pixels = np.full((4, 6), value, np.uint8)
    pixels[:, 3:] = 255
    found = ThresholdMask().read(write(tmp_path / "a.png", pixels))
    assert np.all(found[:, :3] == expected)
    assert np.all(found[:, 3:] == 1)


@pytest.mark.parametrize(
    "name", ["a.png", "a.gif", "a.tif", "a.bmp", "a.jpg", "a.pgm", "a.webp", "a.PNG"]
)
def test_bright_pixels_are_found_in_every_kind_of_file(tmp_path, name):
    path = write(tmp_path / name, half_mask(16, 32))
    assert np.array_equal(ThresholdMask().read(path), half_mask(16, 32, value=1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK"])
def test_bright_pixels_are_found_in_every_mode(tmp_path, mode):
    grey = Image.fromarray(half_mask(16, 32))
    if mode == "I;16":
        picture = Image.fromarray(half_mask(16, 32).astype(np.uint16) * 257)
    else:
        picture = grey.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    assert np.array_equal(ThresholdMask().read(path), half_mask(16, 32, value=1))


def test_a_palette_decides_what_is_bright(tmp_path):
    picture = Image.fromarray(half_mask(value=1))
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(ThresholdMask().read(tmp_path / "a.png"), 1 - half_mask(value=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_numbers_0_and_1_are_read_as_such(tmp_path, dtype):
    path = write(tmp_path / "a.png", half_mask(value=1).astype(dtype))
    assert np.array_equal(ThresholdMask().read(path), half_mask(value=1))


def test_a_mask_of_all_background_is_fine(tmp_path):
    assert not ThresholdMask().read(write(tmp_path / "a.png", half_mask(value=0))).any()


def test_a_mask_in_which_nothing_is_bright_enough_is_an_error(tmp_path):
    message = error_of_mask(ThresholdMask(), write(tmp_path / "a.png", half_mask(value=38)))
    assert "greys from 0 to 38, none of them bright (above 127 of 255)" in message


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("value", [1, 100, 127])
def test_a_mask_of_one_dark_grey_is_an_error(tmp_path, name, value):
    path = write(tmp_path / name, np.full((16, 16), value, np.uint8))
    if name == "a.png" and value == 1:
        assert ThresholdMask().read(path).all()  # the number 1
        return
    assert "none of them bright" in error_of_mask(ThresholdMask(), path)


def test_class_numbers_in_a_jpeg_are_an_error_and_black_is_not(tmp_path):
    numbers = write(tmp_path / "a.jpg", half_mask(16, 32, value=1))
    assert "greys from 0 to 1, none of them bright" in error_of_mask(ThresholdMask(), numbers)
    assert not ThresholdMask().read(write(tmp_path / "b.jpg", half_mask(16, 32, value=0))).any()


def test_more_classes_than_two_are_an_error(tmp_path):
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[:, 10:20], colours[:, 20:] = (0, 255, 0), (255, 0, 0)
    message = error_of_mask(ThresholdMask(), write(tmp_path / "a.png", colours))
    assert (
        "has 3 colours (#000000, #00FF00, #FF0000), which looks like more than one class" in message
    )
    assert "set num_classes, or say in classes.csv" in message
    greys = np.repeat(np.array([0, 100, 200, 250], np.uint8), 10)[None].repeat(20, axis=0)
    message = error_of_mask(ThresholdMask(), write(tmp_path / "b.png", greys))
    assert "has 4 greys that fill areas (0, 100, 200, 250), which looks like more" in message


def test_two_colours_are_two_classes(tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 10:] = (0, 255, 0)
    assert ThresholdMask().read(write(tmp_path / "a.png", pixels)).sum() == 400


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_mask_that_was_made_smaller_keeps_its_soft_edges(tmp_path, factor):
    rows, columns = np.mgrid[0:240, 0:240]
    disc = ((rows - 120) ** 2 + (columns - 110) ** 2 < 70**2) | (abs(rows - columns) < 5)
    small = Image.fromarray((disc * 255).astype(np.uint8)).reduce(factor)
    assert len(np.unique(np.asarray(small))) > 3
    small.save(tmp_path / "a.png")
    expected = np.asarray(small) > 127
    assert np.array_equal(ThresholdMask().read(tmp_path / "a.png"), expected)


def test_real_masks_of_other_data_are_not_taken_for_black_and_white():
    path = real("dubai_aerial/Tile 1/masks/image_part_001.png")
    assert "more than one class and background" in error_of_mask(ThresholdMask(), path)


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3, 4]])
def test_class_numbers_beside_ignored_pixels_are_no_black_and_white_mask(tmp_path, numbers):
    mask = np.zeros((20, 20), np.uint8)
    mask[0, : len(numbers)] = numbers
    mask[5] = 255
    with pytest.raises(DataError, match=r"has the values 1.* beside 255, which look like class"):
        ThresholdMask().read(write(tmp_path / "mask.png", mask))


def test_a_softened_mask_is_still_black_and_white(tmp_path):
    mask = np.zeros((20, 20), np.uint8)
    mask[0] = np.linspace(1, 255, 20)
    assert ThresholdMask().read(write(tmp_path / "mask.png", mask)).sum() == 10


def test_dark_masks_of_16_bits_are_refused(tmp_path):
    mask = np.zeros((20, 20), np.uint16)
    for grey in (100, 255, 32767):
        mask[5] = grey
        message = rf"greys from 0 to {grey}, none of them bright \(above 32767 of 65535: they"
        with pytest.raises(DataError, match=message):
            ThresholdMask().read(write(tmp_path / "mask.png", mask))
    mask[5] = 32768
    assert ThresholdMask().read(write(tmp_path / "mask.png", mask)).sum() == 20
