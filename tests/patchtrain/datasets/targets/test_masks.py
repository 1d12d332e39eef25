"""What the pixels of masks mean, their files, and how they lie on images."""

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_data import damage, error_of_mask, grey_image, half_mask, real, write
from PIL import Image

from patchtrain.datasets.example import Example
from patchtrain.datasets.targets.masks import (
    IGNORED,
    ColourMask,
    MaskFiles,
    NumberMask,
    ThresholdMask,
    parse_colour,
)
from patchtrain.errors import DataError
from patchtrain.images import fit_labels, open_image

RED, BLUE, GREY = (255, 0, 0), (0, 0, 200), (9, 9, 9)
COLOURS = ColourMask(((RED, 0), (BLUE, 1), (GREY, IGNORED)))


def coloured(height: int = 4, width: int = 6) -> np.ndarray:
    pixels = np.full((height, width, 3), RED, np.uint8)
    pixels[:, 2:] = BLUE
    pixels[:, 4:] = GREY
    return pixels


def by_columns(*classes: int) -> np.ndarray:
    """Return the classes of a 4 x 6 mask, two columns each."""
    return np.tile(np.repeat(np.array(classes, np.uint8), 2), (4, 1))


@pytest.mark.parametrize("turned", ["image", "mask"])
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_a_picture_that_viewers_turn_is_an_error(tmp_path, turned, kind):
    tag = Image.Exif()
    tag[274] = 6
    paths = {name: tmp_path / f"{name}.{kind}" for name in ("image", "mask")}
    for name, path in paths.items():
        picture = Image.fromarray(half_mask(16, 16))
        picture.save(path, exif=tag) if name == turned else picture.save(path)
    example = Example("a", paths["image"], MaskFiles(paths["mask"], ThresholdMask()))
    with pytest.raises(DataError) as refused:
        example.read(16)
    assert f"{turned}.{kind}: has the orientation tag 6" in str(refused.value)
    tag[274] = 1
    for path in paths.values():
        Image.fromarray(half_mask(16, 16)).save(path, exif=tag)
    assert example.read(16).height == 16


def test_the_second_observer_of_drive_reads_like_the_first():
    manual = ThresholdMask().read(real("drive/test/2nd_manual/01_manual2.gif"))
    first = ThresholdMask().read(real("drive/test/1st_manual/01_manual1.gif"))
    assert np.mean(manual == first) > 0.95
    assert 0.05 < manual.mean() < 0.15


# --- colours ---


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.ppm"])
def test_colours_become_their_classes(tmp_path, name):
    path = write(tmp_path / name, coloured())
    assert np.array_equal(COLOURS.read(path), by_columns(0, 1, IGNORED))


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif"])
def test_palettes_are_looked_up_before_colours(tmp_path, name):
    Image.fromarray(coloured()).quantize(3).save(tmp_path / name)
    assert np.array_equal(COLOURS.read(tmp_path / name), by_columns(0, 1, IGNORED))


def test_an_opaque_alpha_channel_does_not_matter(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(coloured()).convert("RGBA").save(path)
    assert np.array_equal(COLOURS.read(path), by_columns(0, 1, IGNORED))


def test_unknown_colours_are_errors_that_count_the_most_frequent(tmp_path):
    pixels = coloured()
    pixels[:3, 0] = (1, 2, 254)
    pixels[0, 1] = (7, 7, 7)
    message = error_of_mask(COLOURS, write(tmp_path / "a.png", pixels))
    assert message.startswith(f"{tmp_path / 'a.png'}: has the colour #0102FE in 3 px, and 1 other")
    assert "known: #0000C8, #090909, #FF0000" in message


@pytest.mark.parametrize("reader", [COLOURS, ThresholdMask(), NumberMask(3)])
def test_transparent_pixels_are_errors(tmp_path, reader):
    pixels = np.dstack([coloured(), np.full((4, 6), 200, np.uint8)])
    message = error_of_mask(reader, write(tmp_path / "a.png", pixels))
    assert "has transparent pixels" in message


@pytest.mark.parametrize("reader", [COLOURS, NumberMask(3)])
def test_jpegs_are_refused_where_values_must_be_exact(tmp_path, reader):
    assert "compressed as JPEG" in error_of_mask(reader, write(tmp_path / "a.jpg", coloured()))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), compression="jpeg", photometric="rgb")
    assert "compressed as JPEG" in error_of_mask(reader, path)


def write_webp_tiff(path, lossless):
    options = {"compression": "webp", "compressionargs": {"lossless": lossless}}
    pixels = np.repeat(np.repeat(coloured(), 16, axis=0), 16, axis=1)
    tifffile.imwrite(path, pixels, photometric="rgb", **options)


def test_tiffs_of_webp_are_refused_where_they_lose_detail(tmp_path):
    write_webp_tiff(tmp_path / "exact.tif", True)
    COLOURS.read(tmp_path / "exact.tif")
    write_webp_tiff(tmp_path / "lossy.tif", False)
    assert "compressed as JPEG or similar" in error_of_mask(COLOURS, tmp_path / "lossy.tif")


@pytest.mark.parametrize(
    "name, exact, lossy",
    [
        ("a.webp", {"lossless": True}, {"quality": 100}),
        ("a.jp2", {"irreversible": False}, {"irreversible": True}),
    ],
)
def test_webp_and_jpeg_2000_are_refused_where_they_lose_detail(tmp_path, name, exact, lossy):
    picture = Image.fromarray(np.repeat(np.repeat(coloured(), 8, axis=0), 8, axis=1))
    picture.save(tmp_path / name, **exact)
    COLOURS.read(tmp_path / name)
    picture.save(tmp_path / name, **lossy)
    assert "compressed as JPEG or similar" in error_of_mask(COLOURS, tmp_path / name)


def test_extended_webp_is_searched_for_its_frame(tmp_path):
    picture = Image.fromarray(np.repeat(np.repeat(coloured(), 8, axis=0), 8, axis=1))
    for number, lossless in enumerate((True, False)):
        path = tmp_path / f"{number}.webp"
        picture.save(path, lossless=lossless, exif=b"Exif\0\0" + bytes(64), icc_profile=bytes(99))
        assert path.read_bytes()[12:16] == b"VP8X"
        with open_image(path) as source:
            assert source.read_stored().is_lossy is not lossless


@pytest.mark.parametrize(
    "text, colour",
    [
        ("#3C1098", (60, 16, 152)),
        ("3c1098", (60, 16, 152)),
        ("#3C109", None),
        ("#3C10988", None),
        ("red", None),
        ("#GG0000", None),
        ("", None),
        ("#٣٣٣٣٣٣", None),
    ],
)
def test_colours_are_written_in_six_hexadecimal_digits(text, colour):
    assert parse_colour(text) == colour


# --- class numbers ---


def numbers() -> np.ndarray:
    return by_columns(0, 4, IGNORED)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif", "a.bmp", "a.pgm"])
def test_greys_are_class_numbers(tmp_path, name):
    path = write(tmp_path / name, numbers())
    assert np.array_equal(NumberMask(5).read(path), numbers())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_indices_of_a_palette_are_class_numbers(tmp_path, name):
    picture = Image.fromarray(by_columns(0, 4, 2))
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9, 1, 1, 1])
    picture.save(tmp_path / name)
    assert np.array_equal(NumberMask(5).read(tmp_path / name), by_columns(0, 4, 2))


def test_grey_written_in_three_channels_is_class_numbers(tmp_path):
    path = write(tmp_path / "a.png", np.dstack([numbers()] * 3))
    assert np.array_equal(NumberMask(5).read(path), numbers())


def test_16_bit_greys_are_class_numbers(tmp_path):
    for name in ("a.png", "a.tif"):
        path = write(tmp_path / name, numbers().astype(np.uint16))
        assert np.array_equal(NumberMask(5).read(path), numbers())


def test_a_gif_in_colours_has_no_class_numbers(tmp_path):
    Image.fromarray(coloured()).quantize(3).save(tmp_path / "a.gif")
    assert "has colours instead of class numbers" in error_of_mask(
        NumberMask(5), tmp_path / "a.gif"
    )


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pixels_of_few_bits_are_class_numbers(tmp_path, bits):
    classes = by_columns(0, 2**bits - 1, 1)
    picture = Image.fromarray(classes)
    picture.putpalette([0, 0, 0] * 16)
    picture.save(tmp_path / "palette.png", bits=bits)
    (tmp_path / "grey.png").write_bytes(_as_grey_png((tmp_path / "palette.png").read_bytes()))
    tifffile.imwrite(
        tmp_path / "grey.tif",
        classes > 0 if bits == 1 else classes,
        bitspersample=bits,
        photometric="minisblack",
    )
    for path in tmp_path.iterdir():
        assert np.array_equal(NumberMask(16).read(path), classes), path


@pytest.mark.parametrize("kind", ["P2", "P5"])
@pytest.mark.parametrize("highest", [1, 3, 4, 7, 100, 254, 255, 300, 65535])
def test_class_numbers_of_a_pgm_are_what_it_holds(tmp_path, kind, highest):
    """Whatever its white is; Pillow makes it 255 or 65535."""
    classes = by_columns(0, min(highest, 20), 1)
    samples = classes.astype(">u2" if highest > 255 else "u1").tobytes()
    if kind == "P2":
        samples = " ".join(map(str, classes.ravel())).encode()
    height, width = classes.shape
    path = tmp_path / "mask.pgm"
    path.write_bytes(f"{kind}\n{width} {height}\n{highest}\n".encode() + samples)
    assert np.array_equal(NumberMask(21).read(path), classes)


def _as_grey_png(palette_png: bytes) -> bytes:
    """Return the PNG without its palette: Pillow itself writes no grey of few bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    place, chunks = 8, [palette_png[:8]]
    while place < len(palette_png):
        (size,) = struct.unpack(">I", palette_png[place : place + 4])
        kind = palette_png[place + 4 : place + 8]
        data = palette_png[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            data = data[:9] + b"\0" + data[10:]
        if kind != b"PLTE":
            chunks.append(chunk(kind, data))
        place += 12 + size
    return b"".join(chunks)


def test_a_class_that_is_too_high_is_an_error(tmp_path):
    message = error_of_mask(NumberMask(5), write(tmp_path / "a.png", by_columns(0, 7, 5)))
    assert f"{tmp_path / 'a.png'}: has class 7, more than num_classes=5 allows" in message
    assert "in 16 px" in message


def test_colours_where_numbers_are_wanted_are_an_error(tmp_path):
    assert "has colours" in error_of_mask(NumberMask(5), write(tmp_path / "a.png", coloured()))


def test_floats_are_an_error(tmp_path):
    path = write(tmp_path / "a.tif", numbers().astype(np.float32))
    for reader in (NumberMask(5), ThresholdMask(), COLOURS):
        assert "float32" in error_of_mask(reader, path)


# --- files ---


@pytest.mark.parametrize("reader", [ThresholdMask(), COLOURS, NumberMask(3)])
@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif", "a.bmp"])
@pytest.mark.parametrize(
    "kind, message",
    [
        ("truncated", ""),
        ("text", "is not an image"),
        ("zero_bytes", "is empty"),
        ("folder", "is a folder"),
        ("missing", "does not exist"),
    ],
)
def test_bad_mask_files_are_errors(tmp_path, reader, name, kind, message):
    path = write(tmp_path / name, np.random.default_rng(0).integers(0, 3, (90, 90), np.uint8))
    damage(kind, path)
    assert message in error_of_mask(reader, path).removeprefix(f"{path}: ")


def test_readers_can_be_sent_to_other_processes():
    for reader in (ThresholdMask(), COLOURS, NumberMask(3)):
        files = MaskFiles(Path("a.png"), reader, Path("b.png"))
        assert pickle.loads(pickle.dumps(files)) == files
        assert len({files, files}) == 1


def test_pixels_outside_the_field_of_view_are_ignored(tmp_path):
    files = MaskFiles(
        write(tmp_path / "mask.png", half_mask(4, 6)),
        ThresholdMask(),
        write(tmp_path / "view.gif", by_columns(0, 255, 255)),
    )
    assert np.array_equal(files.read(), np.tile(np.array([255, 255, 0, 1, 1, 1], np.uint8), (4, 1)))


def test_a_field_of_view_of_another_size_is_an_error(tmp_path):
    mask, view = (
        write(tmp_path / "mask.png", half_mask(4, 6)),
        write(tmp_path / "view.png", half_mask(6, 4)),
    )
    message = error_of_mask(MaskFiles(mask, ThresholdMask(), view))
    assert f"{mask}: is 4 x 6 px, but {view} is 6 x 4 px" in message


def test_a_mask_of_another_size_than_its_image_is_an_error(tmp_path):
    image = write(tmp_path / "a.jpg", grey_image(4, 6))
    mask = write(tmp_path / "a.png", half_mask(6, 4))
    with pytest.raises(DataError, match=r"a\.png: is 6 x 4 px, but .*a\.jpg is 4 x 6 px; "):
        Example("a", image, MaskFiles(mask, ThresholdMask())).read(16)


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (64, 64), (200, 90), (1, 40)])
def test_masks_are_fitted_where_the_image_is(tmp_path, size):
    pixels = grey_image(*size, value=255)
    classes = np.zeros(size, np.uint8)
    block = (slice(0, size[0] // 2 + 1), slice(size[1] // 3, size[1] // 2))
    pixels[block] = 0
    classes[block] = 255
    example = Example(
        "a",
        write(tmp_path / "a.png", pixels),
        MaskFiles(write(tmp_path / "m.png", classes), ThresholdMask()),
    )
    image, target, height, width = example.read(64)
    assert (height, width) == size
    assert (target.shape, target.dtype) == ((64, 64), np.uint8)
    inside = target != IGNORED
    longer = max(size)
    assert inside.sum() == round(64 * size[0] / longer) * round(64 * size[1] / longer) or 1 in size
    dark = image[..., 0] < 128
    assert np.mean(dark[inside] == (target[inside] == 1)) > 0.98
    assert np.array_equal(target, fit_labels(example.target.read(), 64, IGNORED))


# --- tiles that were never written ---


@pytest.mark.parametrize(
    "reader, pixels, filled",
    [
        (ThresholdMask(), np.full((16, 16), 255, np.uint8), 0),
        (NumberMask(2), np.ones((16, 16), np.uint8), 0),
        (ColourMask((((0, 0, 0), 0), (BLUE, 1))), np.full((16, 16, 3), BLUE, np.uint8), 0),
    ],
    ids=["threshold", "numbers", "colours"],
)
def test_tiles_that_were_never_written_are_not_white(tmp_path, reader, pixels, filled):
    def tiles():
        yield from (b"", pixels.tobytes(), b"", b"")

    tifffile.imwrite(
        tmp_path / "mask.tif", tiles(), shape=(32, 32, *pixels.shape[2:]), dtype="u1",
        tile=(16, 16), photometric="rgb" if pixels.ndim == 3 else "minisblack",
    )  # fmt: skip
    classes = reader.read(tmp_path / "mask.tif")
    assert classes.mean() == 0.25
    assert np.all(classes[:16, :16] == filled)
    image = write(tmp_path / "image.png", grey_image(32, 32))
    files = MaskFiles(
        write(tmp_path / "whole.png", half_mask(32, 32)), ThresholdMask(), tmp_path / "mask.tif"
    )
    if isinstance(reader, ThresholdMask):
        seen = Example("a", image, files).read(32).target
        assert np.mean(seen == IGNORED) == 0.75
