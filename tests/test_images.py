import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_data import real
from PIL import Image

from patchtrain import images
from patchtrain.errors import DataError
from patchtrain.images import (
    Box,
    ImageSource,
    fit_labels,
    fit_square,
    open_image,
    place_in_square,
    unfit_square,
)
from patchtrain.images.source import Reader


def smooth_image(height: int, width: int) -> np.ndarray:
    """Return colours that vary slowly, so that codecs and resizing change them little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


def write_pyramid(path: Path, image: np.ndarray, factors=(1, 2, 4), **options) -> Path:
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as tiff:
        for factor in factors:
            level = np.asarray(Image.fromarray(image).reduce(factor))
            tiff.write(
                level, subfiletype=int(factor > 1), photometric="rgb", metadata=None, **options
            )
    return path


@pytest.fixture
def pyramid(tmp_path) -> Path:
    return write_pyramid(
        tmp_path / "slide.tiff", smooth_image(300, 400), tile=(64, 64), compression="jpeg"
    )


def assert_close(actual: np.ndarray, expected: np.ndarray, levels: float) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == np.uint8
    assert np.abs(actual.astype(int) - expected).mean() < levels


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


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_other_files_are_read_by_pillow(tmp_path, name):
    image = smooth_image(90, 120)
    Image.fromarray(image).save(tmp_path / name, quality=95)
    with open_image(tmp_path / name) as source:
        assert_close(source.read((10, 20, 30, 40)), image[10:40, 20:60], levels=4)


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


def decode(path: Path, size_px: int = 400) -> np.ndarray:
    with open_image(path) as source:
        return fit_square(source, size_px)


def assert_one_line_error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


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


def test_images_beyond_pillows_own_limit_are_read(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(tmp_path / "a.png", 60).shape == (60, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_images_too_large_to_decode_whole_are_errors(tmp_path, monkeypatch):
    Image.fromarray(smooth_image(60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr("patchtrain.images.picture._MAX_UNTILED_PX", 3599)
    assert "convert it to a tiled TIFF" in assert_one_line_error(tmp_path / "a.png")


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
    "name, levels",
    [
        ("cmu-1-small-region.svs", [(2967, 2220)]),
        ("tcga-cr-7395-01a-01-ts1.svs", [(3567, 4443), (1783, 2221)]),
    ],
)
def test_real_slides_read_alike_with_and_without_openslide(name, levels, monkeypatch):
    path = real(f"histology_slides/{name}")
    pytest.importorskip("openslide")
    box = (700, 900, 500, 600)
    with open_image(path) as source:
        assert type(source).__name__ == "_OpenSlideSource"
        assert source.level_sizes == levels
        region, square = source.read(box), fit_square(source, 256)
    assert region.std() > 10
    monkeypatch.setattr("patchtrain.images.slide._openslide", lambda: None)
    with open_image(path) as source:
        assert type(source).__name__ == "_TiffSource"
        assert_close(source.read(box), region, levels=1)
        assert_close(fit_square(source, 256), square, levels=1)


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


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_real_slides_cut_short_are_errors(tmp_path, share):
    whole = real("histology_slides/cmu-1-small-region.svs").read_bytes()
    path = tmp_path / "cut.svs"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in assert_one_line_error(path)


def test_a_stack_of_images_is_refused(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((5, 16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match=r"stack\.tif: is a stack of 5 images; save each"):
        open_image(path)


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
