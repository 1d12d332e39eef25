"""Squares: images and labels in, labels back."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import smooth_image
from PIL import Image

from patchtrain.images import fit_labels, fit_square, open_image, place_in_square, unfit_square


def test_fit_square_centres_the_image_on_white(tmp_path):
    Image.fromarray(np.full((20, 40, 3), 60, np.uint8)).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        square = fit_square(source, 80)
    assert square.shape == (80, 80, 3)
    assert np.all(square[20:60] == 60)
    assert np.all(square[:20] == 255)
    assert np.all(square[60:] == 255)


def test_fit_square_keeps_pixels_of_an_image_that_fits(tmp_path):
    image = smooth_image(64, 48)
    Image.fromarray(image).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        assert np.array_equal(fit_square(source, 64)[:, 8:56], image)


def test_fit_square_of_a_very_thin_image_shows_a_line(tmp_path):
    Image.fromarray(np.zeros((1, 1000, 3), np.uint8)).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        square = fit_square(source, 32)
    assert np.count_nonzero(square[:, 5, 0] < 255) == 1


@pytest.mark.parametrize(
    "size, square, box",
    [
        ((20, 40), 80, (20, 0, 40, 80)),
        ((40, 20), 80, (0, 20, 80, 40)),
        ((565, 584), 512, (8, 0, 495, 512)),
        ((300, 300), 64, (0, 0, 64, 64)),
        ((1, 1000), 32, (15, 0, 1, 32)),
        ((2, 3), 4, (0, 0, 3, 4)),
    ],
)
def test_images_lie_in_the_middle_of_the_square(size, square, box):
    assert place_in_square(*size, square) == box


@pytest.mark.parametrize("size", [(40, 64), (64, 40), (33, 64), (97, 201), (200, 64)])
def test_labels_lie_where_the_image_shows_them(tmp_path, size):
    height, width = size
    labels = np.zeros(size, np.uint8)
    labels[height // 5 : -(-height // 2), width // 3 : -(-2 * width // 3)] = 7
    pixels = np.where(labels[..., None] == 7, np.uint8(0), np.uint8(200))
    Image.fromarray(np.repeat(pixels, 3, axis=2)).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        image = fit_square(source, 64)
    fitted = fit_labels(labels, 64, padding=255)
    assert (fitted.shape, fitted.dtype) == ((64, 64), np.uint8)
    shown = np.select([image[..., 0] < 100, image[..., 0] < 228], [7, 0], 255)
    assert np.mean(shown == fitted) > 0.97


@pytest.mark.parametrize("size", [(40, 64), (21, 50), (50, 21), (1, 30), (64, 64), (7, 7)])
@pytest.mark.parametrize("square", [64, 100, 257])
def test_labels_that_were_enlarged_come_back_as_they_were(size, square):
    labels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    assert np.array_equal(unfit_square(fit_labels(labels, square, 255), *size), labels)


def test_a_block_of_labels_comes_back_at_its_place_after_shrinking():
    labels = np.zeros((400, 250), np.uint8)
    labels[120:200, 30:90] = 3
    back = unfit_square(fit_labels(labels, 64, padding=255), 400, 250)
    rows, cols = np.nonzero(back == 3)
    found = np.array([rows.min(), rows.max() + 1, cols.min(), cols.max() + 1])
    pixel = 400 / 64
    assert np.abs(found - [120, 200, 30, 90]).max() <= pixel / 2
    assert set(np.unique(back)) == {0, 3}


def test_labels_are_read_at_the_centre_of_each_new_pixel():
    labels = np.arange(9, dtype=np.uint8)[None].repeat(9, axis=0)
    assert fit_labels(labels, 3, padding=255)[0].tolist() == [1, 4, 7]
