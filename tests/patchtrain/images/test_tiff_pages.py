"""Which pages of a TIFF are its image."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_files import assert_close, smooth_image, write_pyramid

from patchtrain.errors import DataError
from patchtrain.images import Box, open_image

_IMAGE = smooth_image(64, 96)
_OTHER = 255 - _IMAGE
_REDUCED, _MACRO = 1, 9


def _read(path) -> np.ndarray:
    with open_image(path) as source:
        return source.read(Box(0, 0, source.height, source.width))


def _write(path, *pages, **options):
    """Write `pages` (pixels, or pixels and how they are written) one after the other."""
    with tifffile.TiffWriter(path, **options) as tiff:
        for page in pages:
            pixels, how = page if isinstance(page, tuple) else (page, {})
            tiff.write(pixels, **{"photometric": "rgb", "metadata": None, **how})
    return path


def _ome(uuid: str, images: list[tuple[str, str, str, int]]) -> str:
    """Return OME-XML of a file; images as name, file name, UUID, page."""
    pieces = "".join(
        f'<Image ID="Image:{n}" Name="{name}"><Pixels ID="Pixels:{n}" DimensionOrder="XYCZT" '
        f'Type="uint8" SizeX="96" SizeY="64" SizeC="3" SizeZ="1" SizeT="1">'
        f'<Channel ID="Channel:{n}" SamplesPerPixel="3"/><TiffData IFD="{page}" PlaneCount="1">'
        f'<UUID FileName="{file_name}">{uuid_of_file}</UUID></TiffData></Pixels></Image>'
        for n, (name, file_name, uuid_of_file, page) in enumerate(images)
    )
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'<?xml version="1.0"?><OME xmlns="{namespace}" UUID="{uuid}">{pieces}</OME>'


@pytest.mark.parametrize("are_there", [True, False], ids=["neighbours", "alone"])
def test_each_file_of_an_ome_set_gives_its_own_pixels(tmp_path, are_there):
    images = [(n, f"{n}.ome.tif", f"urn:uuid:{n}", 0) for n in "abc"]
    pixels = {name: np.roll(_IMAGE, 7 * place, axis=1) for place, name in enumerate("abc")}
    for name in "abc" if are_there else "b":
        xml = _ome(f"urn:uuid:{name}", images)
        _write(tmp_path / f"{name}.ome.tif", (pixels[name], {"description": xml}))
    for name in "abc" if are_there else "b":
        assert np.array_equal(_read(tmp_path / f"{name}.ome.tif"), pixels[name])


def test_an_ome_file_of_another_size_than_the_first_of_its_set_is_read(tmp_path):
    images = [(n, f"{n}.ome.tif", f"urn:uuid:{n}", 0) for n in "ab"]
    small = _IMAGE[:32, :32]
    _write(tmp_path / "a.ome.tif", (_IMAGE, {"description": _ome("urn:uuid:a", images)}))
    _write(tmp_path / "b.ome.tif", (small, {"description": _ome("urn:uuid:b", images)}))
    assert np.array_equal(_read(tmp_path / "b.ome.tif"), small)


def test_the_image_of_an_ome_file_is_the_one_that_is_not_named_label_or_macro(tmp_path):
    own = "urn:uuid:a"
    names = ("slide 7", "label image", "macro image")
    images = [(name, "a.ome.tif", own, page) for page, name in enumerate(names)]
    path = _write(
        tmp_path / "a.ome.tif",
        (_IMAGE, {"description": _ome(own, images)}),
        _OTHER[:40, :40],
        _OTHER[:50, :80],
    )
    assert np.array_equal(_read(path), _IMAGE)


def test_levels_below_a_page_are_used(tmp_path):
    image = smooth_image(512, 768)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(image, photometric="rgb", metadata=None, subifds=1)
        small = np.full((128, 192, 3), 7, np.uint8)
        tiff.write(small, photometric="rgb", metadata=None, subfiletype=_REDUCED)
    with open_image(tmp_path / "a.tif") as source:
        assert source.level_sizes == [(512, 768), (128, 192)]
        assert np.all(source.thumbnail(64, 96) == 7)


@pytest.mark.parametrize("factors", [(1, 2, 4), (1, 3, 9), (1, 4)])
def test_reduced_pages_are_levels(tmp_path, factors):
    path = write_pyramid(tmp_path / "a.tif", smooth_image(301, 403), factors)
    with open_image(path) as source:
        assert len(source.level_sizes) == len(factors)


def test_a_thumbnail_that_comes_first_is_not_the_image(tmp_path):
    first = (_OTHER[::2, ::2], {"subfiletype": _REDUCED})
    assert np.array_equal(_read(_write(tmp_path / "a.tif", first, _IMAGE)), _IMAGE)


def test_an_image_below_its_thumbnail_is_found(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(_OTHER[::2, ::2], photometric="rgb", metadata=None, subifds=1, subfiletype=1)
        tiff.write(_IMAGE, photometric="rgb", metadata=None)
    assert np.array_equal(_read(tmp_path / "a.tif"), _IMAGE)


@pytest.mark.parametrize(
    "beside",
    [
        (_OTHER[:30, :30], {"subfiletype": _REDUCED}),
        (_OTHER[::2, ::2], {"subfiletype": _MACRO}),
        (_OTHER[..., 0] > 99, {"subfiletype": 4, "photometric": "mask"}),
        (_OTHER[:30, :30], {"description": "Label 30x30"}),
        (_OTHER[::2, ::2], {"description": "macro 48x32"}),
    ],
    ids=["other shape", "macro", "mask", "named label", "named macro"],
)
def test_what_scanners_store_beside_the_image_is_no_level_of_it(tmp_path, beside):
    path = _write(tmp_path / "a.tif", _IMAGE, beside)
    assert np.array_equal(_read(path), _IMAGE)
    with open_image(path) as source:
        assert len(source.level_sizes) == 1
        assert_close(source.thumbnail(32, 48), _IMAGE[::2, ::2], levels=4)


@pytest.mark.parametrize("appended", [_OTHER[:32, :48], _OTHER[:, :64], np.tile(_OTHER, (2, 2, 1))])
def test_appended_images_are_refused_with_their_sizes(tmp_path, appended):
    tifffile.imwrite(tmp_path / "a.tif", _IMAGE, photometric="rgb")
    tifffile.imwrite(tmp_path / "a.tif", appended, photometric="rgb", append=True)
    height, width = appended.shape[:2]
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / "a.tif")
    assert "holds 2 images (page 0 of 64 x 96 px" in str(caught.value)
    assert f"page 1 of {height} x {width} px" in str(caught.value)


def test_an_appended_image_of_the_same_size_is_a_stack(tmp_path):
    path = _write(tmp_path / "a.tif", _IMAGE, _OTHER)
    with pytest.raises(DataError, match="is a stack of 2 images"):
        open_image(path)


def test_a_pyramid_followed_by_another_image_is_refused(tmp_path):
    level = (_IMAGE[::2, ::2], {"subfiletype": _REDUCED})
    path = _write(tmp_path / "a.tif", _IMAGE, level, _OTHER[:60])
    with pytest.raises(DataError, match=r"holds 2 images .* page 2 of 60 x 96 px"):
        open_image(path)


def test_planes_of_an_ome_set_are_counted_in_this_file_only(tmp_path):
    images = [(n, f"{n}.ome.tif", f"urn:uuid:{n}", 0) for n in "abcdef"]
    path = tmp_path / "a.ome.tif"
    first = (_IMAGE, {"description": _ome("urn:uuid:a", images)})
    with pytest.raises(DataError, match="is a stack of 2 images"):
        open_image(_write(path, first, _OTHER))


@pytest.mark.parametrize("kind", ["imagej", "shaped"])
def test_one_page_that_stands_for_many_images_is_a_stack(tmp_path, kind):
    path, planes = tmp_path / "a.tif", np.zeros((5, 16, 16), np.uint8)
    with tifffile.TiffWriter(path, **{kind: True}) as tiff:
        tiff.write(planes, photometric="minisblack", truncate=kind == "shaped")
    with pytest.raises(DataError, match="is a stack of 5 images"):
        open_image(path)
