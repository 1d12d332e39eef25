"""Warnings of images that can be read, but are probably not what was meant."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import tifffile
from image_data import grey_image, trial, write

from patchtrain.datasets import load_all, load_dataset

_RANDOM = np.random.default_rng(0)


@pytest.fixture
def panda(tmp_path):
    """Twelve different slides."""
    folder = tmp_path / "panda"
    for number in range(12):
        pixels = _RANDOM.integers(0, 255, (64, 64, 3), np.uint8)
        write(folder / "train_images" / f"s{number:02}.tiff", pixels)
    rows = [f"s{number:02},{number % 2}" for number in range(12)]
    (folder / "train.csv").write_text("\n".join(["image_id,isup_grade", *rows]))
    return folder


def _config(folder, **settings):
    sizes = {"image_size": 64, "patch_size": 32, "val_fraction": 0.5}
    return trial("panda", folder, **{**sizes, **settings})


def _warnings(caplog, folder, **settings):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        data = load_dataset(_config(folder, **settings))
    return data, [record.getMessage() for record in caplog.records]


def test_ordinary_slides_give_no_warning(panda, caplog):
    assert _warnings(caplog, panda)[1] == []


@pytest.mark.parametrize("noise", [0, 6])
def test_blank_slides_are_listed(panda, caplog, noise):
    pixels = 255 - _RANDOM.integers(0, noise + 1, (64, 64, 3), np.uint8)
    for number in (3, 7):
        write(panda / "train_images" / f"s{number:02}.tiff", pixels)
    for _ in range(2):  # the second time from memory
        _, (warning,) = _warnings(caplog, panda)
        assert "2 of 12 images are blank, of one colour only: s03, s07" in warning


def _with_copies(panda):
    for number, original in ((4, 1), (5, 1), (8, 2)):
        images = panda / "train_images"
        shutil.copy(images / f"s{original:02}.tiff", images / f"s{number:02}.tiff")
    return panda


def test_the_same_slide_under_two_names_is_listed_with_split_and_labels(panda, caplog):
    data, (warning,) = _warnings(caplog, _with_copies(panda))
    assert "3 images have the pixels of another one: s01 = s04 = s05, s02 = s08" in warning
    assert "with different labels: s01 = s04 = s05;" in warning
    assert "drop_duplicates=true keeps one of each" in warning
    val = {example.image_id for example in data.val}
    groups = [("s01", "s04", "s05"), ("s02", "s08")]
    across = [" = ".join(g) for g in groups if 0 < len(val & set(g)) < len(g)]
    assert ("in several splits: " + ", ".join(across) in warning) == bool(across)


def test_one_of_each_is_kept_on_demand(panda, caplog):
    data, warnings = _warnings(caplog, _with_copies(panda), drop_duplicates=True)
    assert warnings == []
    kept = {example.image_id for example in (*data.train, *data.val)}
    assert kept == {f"s{n:02}" for n in range(12)} - {"s04", "s05", "s08"}
    assert data.num_skipped == data.num_copies == 3
    assert data.left_out() == ["left out 3 images with the pixels of another one"]


def test_copies_are_told_apart_by_pixels_not_by_files(panda, caplog):
    images = panda / "train_images"
    pixels = tifffile.imread(images / "s01.tiff")
    tifffile.imwrite(images / "s09.tiff", pixels, photometric="rgb", compression="deflate")
    _, (warning,) = _warnings(caplog, panda)
    assert "s01 = s09" in warning


def _make_dark(panda, high: int):
    for path in (panda / "train_images").iterdir():
        pixels = _RANDOM.integers(10, high, (64, 64, 3), np.uint16)
        pixels[:2] = high
        tifffile.imwrite(path, pixels, photometric="rgb")
    return panda


def test_images_that_come_out_black_are_named_with_their_range(panda, caplog):
    _make_dark(panda, 4095)
    for _ in range(2):
        _, (warning,) = _warnings(caplog, panda)
        assert "12 images of more than 8 bits hold values from 10 to 4095" in warning
        assert "set value_range=0:4095" in warning


def test_a_value_range_makes_them_bright(panda, caplog):
    _make_dark(panda, 4095)
    data, warnings = _warnings(caplog, panda, value_range="0:4095")
    assert warnings == []
    assert data.train[0].read(64).image.max() == 255
    whole = load_all(_config(panda, value_range="0:4095"))
    assert whole.test[0].read(64).image.max() == 255
    dark, _ = _warnings(caplog, panda)
    assert dark.train[0].read(64).image.max() == 16


def test_16_bits_that_are_used_give_no_warning(panda, caplog):
    assert _warnings(caplog, _make_dark(panda, 30_000))[1] == []


def test_tiles_of_one_colour_in_segmentation_are_no_copies_of_each_other(tmp_path, caplog):
    for number in range(6):
        write(tmp_path / "d" / "images" / f"{number}.png", grey_image(40, 60))
        mask = np.zeros((40, 60), np.uint8)
        mask[:20] = 255
        write(tmp_path / "d" / "masks" / f"{number}.png", mask)
    with caplog.at_level(logging.WARNING):
        load_dataset(trial("image_masks", tmp_path / "d"))
    assert "copies" not in caplog.text
