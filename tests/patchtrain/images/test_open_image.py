"""Whatever the kind of file: what is refused, and what real files give."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from image_data import real
from image_files import assert_one_line_error, decode, smooth_image, write_pyramid
from PIL import Image

from patchtrain import images
from patchtrain.errors import DataError
from patchtrain.images import ImageSource, open_image
from patchtrain.images.source import Reader


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["slide.tiff", "strips.tiff", "big.tiff", "a.png", "a.jpg"])
def test_files_cut_short_are_errors(tmp_path, share, kind):
    path = tmp_path / kind
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    if path.suffix == ".tiff":
        layout = {"rowsperstrip": 8} if kind == "strips.tiff" else {"tile": (64, 64)}
        write_pyramid(path, image, compression="jpeg", bigtiff=kind == "big.tiff", **layout)
    else:
        Image.fromarray(image).save(path)
    whole = path.read_bytes()
    decode(path)
    path.write_bytes(whole[: int(len(whole) * share)])
    # 64 px need only the last level of the pyramid: the loss of another must be found too
    with pytest.raises(DataError, match=path.name):
        decode(path, size_px=64)
    assert_one_line_error(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("empty.tiff", b""),
        ("text.tiff", b"no image at all"),
        ("head.tiff", b"II*\0"),
        ("garbage.tiff", b"II*\0" + b"\xff" * 200),
        ("no_pages.tiff", b"II*\0" + bytes(200)),
        ("loop.tiff", b"II*\0\x08\0\0\0" + b"\x01\0" + bytes(12) + b"\x08\0\0\0"),
        ("text.png", b"hello"),
        ("run_me.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    ],
)
def test_files_that_are_no_images_are_errors(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert_one_line_error(tmp_path / name)


def test_missing_files_and_folders_are_errors(tmp_path):
    (tmp_path / "folder.tiff").mkdir()
    assert "is a folder" in assert_one_line_error(tmp_path / "folder.tiff")
    assert "does not exist" in assert_one_line_error(tmp_path / "nothing.tiff")


def test_unreadable_files_leave_nothing_on_stderr(tmp_path, pyramid):
    pyramid.write_bytes(pyramid.read_bytes()[:-1000])
    erased = tmp_path / "erased.tiff"
    write_pyramid(erased, smooth_image(300, 400), tile=(64, 64), compression="jpeg")
    raw = bytearray(erased.read_bytes())
    raw[5000:6000] = bytes(1000)
    erased.write_bytes(raw)
    code = (
        "import sys; from patchtrain.images import *; from patchtrain.errors import DataError\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_image(path) as source: fit_square(source, 100)\n"
        "    except DataError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, pyramid, erased],
        capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name",
    [
        "drive/training/images/21_training.tif",
        "drive/training/1st_manual/21_manual1.gif",
        "dubai_aerial/Tile 4/masks/image_part_003.png",
        "dubai_aerial/Tile 4/images/image_part_003.jpg",
    ],
)
def test_real_images_read_as_pillow_reads_them(name):
    path = real(name)
    with Image.open(path) as reference:
        expected = np.asarray(reference.convert("RGB"))
    with open_image(path) as source:
        assert np.array_equal(source.read((0, 0, source.height, source.width)), expected)


class _WhiteImage(ImageSource):
    def _read_level(self, level, box):
        return np.full((box.height, box.width, 3), 255, np.uint8)

    def close(self):
        pass


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_further_file_kind_is_one_reader(tmp_path, monkeypatch, is_folder):
    path = tmp_path / "a.new"
    if is_folder:
        path.mkdir()
    else:
        path.write_bytes(b"new kind")
    reader = Reader(
        (".new",),
        takes=lambda path: path.suffix == ".new",
        open=lambda path: _WhiteImage(path, [(4, 6)]),
        is_folder=is_folder,
    )
    assert_one_line_error(path)
    monkeypatch.setattr("patchtrain.images._READERS", (reader, *images._READERS))
    with open_image(path) as source:
        assert source.read((0, 0, 4, 6)).shape == (4, 6, 3)
    (tmp_path / "other").mkdir()
    assert "is a folder" in assert_one_line_error(tmp_path / "other")
