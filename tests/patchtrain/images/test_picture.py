"""Files that Pillow reads."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import assert_close, assert_one_line_error, decode, smooth_image
from PIL import Image

from patchtrain.errors import DataError
from patchtrain.images import open_image


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_other_files_are_read_by_pillow(tmp_path, name):
    image = smooth_image(90, 120)
    Image.fromarray(image).save(tmp_path / name, quality=95)
    with open_image(tmp_path / name) as source:
        assert_close(source.read((10, 20, 30, 40)), image[10:40, 20:60], levels=4)


def pillow_cases() -> dict[str, tuple[Image.Image, tuple[int, int, int]]]:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    grey16 = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    return {
        "L": (Image.new("L", (8, 8), 77), (77, 77, 77)),
        "1": (Image.new("1", (8, 8), 1), (255, 255, 255)),
        "LA": (Image.new("LA", (8, 8), (100, 0)), (255, 255, 255)),
        "RGBA": (Image.new("RGBA", (8, 8), (255, 0, 0, 51)), (255, 204, 204)),
        "P": (palette, (10, 20, 30)),
        "I;16": (grey16, (128, 128, 128)),
    }


@pytest.mark.parametrize("mode", sorted(pillow_cases()))
def test_png_modes_become_rgb(tmp_path, mode):
    image, colour = pillow_cases()[mode]
    image.save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        assert source.read((0, 0, 8, 8))[3, 3].tolist() == list(colour)


@pytest.mark.parametrize("mode", sorted(pillow_cases()))
def test_stored_pixels_are_numbers_where_the_file_has_numbers(tmp_path, mode):
    pillow_cases()[mode][0].save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as source:
        stored = source.read_stored()
    numbers = {"L": 77, "1": True, "P": 1, "I;16": 0x8080}
    assert stored.values.ndim == (2 if mode in numbers else 3)
    assert np.all(stored.values == numbers.get(mode, stored.values))
    assert stored.is_palette == (mode == "P")
    assert stored.is_opaque == (mode not in ("LA", "RGBA"))
    assert not stored.is_lossy


def test_images_beyond_pillows_own_limit_are_read(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(tmp_path / "a.png", 60).shape == (60, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_images_too_large_to_decode_whole_are_errors(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr("patchtrain.images.picture._MAX_UNTILED_PX", 3599)
    assert "convert it to a tiled TIFF" in assert_one_line_error(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_animation_is_refused(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    first, *others = (Image.new("L", (16, 16), grey) for grey in (0, 90, 255))
    first.save(path, save_all=True, append_images=others)
    with pytest.raises(DataError, match=rf"moving\.{suffix}: is a stack of 3 images; save each"):
        open_image(path)


def test_a_jpeg_with_a_second_picture_is_its_first(tmp_path):
    """As phones write them: with a preview, or a map of depths."""
    path = tmp_path / "phone.jpg"
    first, second = (Image.new("RGB", (16, 16), (grey,) * 3) for grey in (200, 0))
    first.save(path, format="MPO", save_all=True, append_images=[second])
    with open_image(path) as source:
        assert abs(int(source.read((0, 0, 16, 16)).mean()) - 200) < 3
