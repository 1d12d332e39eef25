"""TIFF files, tiled pyramids included, read by tifffile.

`page` is a TiffPage of tifffile, which carries no types.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from patchtrain.errors import DataError
from patchtrain.images.depth import Depth, scaled
from patchtrain.images.lossy import is_lossy
from patchtrain.images.source import (
    ORIENTATION_TAG,
    UPRIGHT,
    WHITE,
    Box,
    ImageSource,
    Reader,
    Stored,
    on_white,
)
from patchtrain.images.tiff_check import check_tiff, is_tiff
from patchtrain.images.tiff_pages import levels_of

_MAX_SAMPLE_VALUE, _GDAL_NODATA = 281, 42113

_MAP_TAGS = (33550, 33922, 34264, 34735, 42112, _GDAL_NODATA)
"""Tags of GeoTIFF and GDAL."""

# reports on stderr what is raised as DataError here; programs that set up logging still see it
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _open(path: Path) -> ImageSource:
    check_tiff(path)
    return _TiffSource(path)


class _TiffSource(ImageSource):
    """The image of a TIFF, tiled or in strips, with smaller levels if there are any."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        try:
            self._pages = levels_of(path, self._file)
            _check_supported(path, self._pages[0])
        except BaseException:
            self._file.close()
            raise
        full = self._pages[0]
        self._to_8_bits = Depth(path, full.bitspersample, _declared_white(full))
        sizes = [(page.imagelength, page.imagewidth) for page in self._pages]
        super().__init__(path, sizes, self._to_8_bits)

    @property
    def orientation(self) -> int:
        tag = self._pages[0].tags.get(ORIENTATION_TAG)
        return UPRIGHT if tag is None else int(tag.value)

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        page = self._pages[level]
        return _tiff_to_rgb(self._read_samples(page, box, _unwritten_colour), page, self._to_8_bits)

    def _read_stored(self) -> Stored:
        from tifffile import COMPRESSION, PHOTOMETRIC

        page = self._pages[0]
        box = Box(0, 0, self.height, self.width)
        samples = self._read_samples(page, box, self._unwritten_number)
        is_number = samples.shape[2] == 1 and page.photometric != PHOTOMETRIC.MINISWHITE

        def colours() -> np.ndarray:
            return _tiff_to_rgb(samples, page, self._to_8_bits)

        return Stored(
            samples[..., 0] if is_number else colours(),
            colours=colours,
            is_palette=page.photometric == PHOTOMETRIC.PALETTE,
            is_opaque=_is_opaque(samples, page),
            is_lossy=page.compression in (COMPRESSION.OJPEG, COMPRESSION.JPEG)
            or is_lossy(self._encoded(page, 0) or b""),
        )

    def _read_samples(
        self, page: Any, box: Box, unwritten: Callable[[Any], np.generic]
    ) -> np.ndarray:
        """Return the samples [box height, box width, samples] of a page as stored.

        Args:
            page: the page.
            box: the region.
            unwritten: gives the value of chunks that were never written.
        """
        pixels = np.zeros((box.height, box.width, page.samplesperpixel), page.dtype)
        for number in _chunks_in(page, box):
            chunk, place, shape = page.decode(
                self._encoded(page, number),
                number,
                jpegtables=page.jpegtables,
                jpegheader=page.jpegheader,
            )
            plane, _, top, left, _ = place
            if chunk is None:
                chunk = np.full(shape, unwritten(page))
            _copy_overlap(chunk[0], top - box.top, left - box.left, pixels[..., plane:])
        return pixels

    def _unwritten_number(self, page: Any) -> np.generic:
        """Return the value of unwritten chunks in a mask: GDAL's rule.

        Raises:
            DataError: 0 would be white, or the no-data value is no value of the page.
        """
        from tifffile import PHOTOMETRIC

        if page.photometric == PHOTOMETRIC.MINISWHITE:
            raise DataError(
                f"{self.path}: has parts that were never written, and 0 means white in it, so they "
                "could be background or not; write all of it, with 0 as black"
            )
        return _no_data(self.path, page)

    def _encoded(self, page: Any, number: int) -> bytes | None:
        num_bytes = page.databytecounts[number]
        if num_bytes == 0:
            return None
        self._file.filehandle.seek(page.dataoffsets[number])
        return self._file.filehandle.read(num_bytes)

    def close(self) -> None:
        self._file.close()


def _check_supported(path: Path, page: Any) -> None:
    """Raise DataError unless the page is grey, palette or RGB with at most 16 bits a sample."""
    from tifffile import COMPRESSION, PHOTOMETRIC

    is_integer = page.dtype is not None and page.dtype.kind in "ub"
    if not is_integer or not isinstance(page.bitspersample, int) or page.bitspersample > 16:
        what = f"{page.bitspersample}-bit {page.dtype} samples"
    elif page.imagedepth != 1:
        what = "a volume"
    elif page.samplesperpixel > 2 and page.photometric in (
        PHOTOMETRIC.MINISWHITE,
        PHOTOMETRIC.MINISBLACK,
    ):
        what = f"an image of {page.samplesperpixel} channels that are not declared as colours"
    elif page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        what = "YCbCr JPEG 2000 without OpenSlide"
    elif page.photometric == PHOTOMETRIC.YCBCR and not _becomes_rgb(page):
        what = f"YCbCr ({page.compression.name}, {page.samplesperpixel} samples a pixel)"
    elif page.photometric not in (
        PHOTOMETRIC.MINISWHITE,
        PHOTOMETRIC.MINISBLACK,
        PHOTOMETRIC.PALETTE,
        PHOTOMETRIC.RGB,
        PHOTOMETRIC.YCBCR,
    ):
        what = f"photometric {page.photometric}"
    else:
        return
    raise DataError(f"{path}: {what} cannot be read; convert it to 8-bit RGB")


def _becomes_rgb(page: Any) -> bool:
    """Return whether decoding a page of YCbCr gives RGB: JPEG does it, other codecs do not know."""
    from tifffile import COMPRESSION, PLANARCONFIG

    is_jpeg = page.compression in (
        COMPRESSION.OJPEG,
        COMPRESSION.JPEG,
        COMPRESSION.ALT_JPEG,
        COMPRESSION.JPEG_LOSSY,
    )
    return is_jpeg and not page.extrasamples and page.planarconfig == PLANARCONFIG.CONTIG


def _unwritten_colour(page: Any) -> np.generic:
    """Return the value of unwritten chunks in an image.

    Slides leave out background, which is white. What is a map, has a further channel or has more
    than 8 bits is no slide: there GDAL's rule holds.
    """
    from tifffile import PHOTOMETRIC

    path = Path(page.parent.filehandle.path)
    is_map = any(tag in page.tags for tag in _MAP_TAGS)
    if is_map or page.extrasamples or page.bitspersample > 8:
        return _no_data(path, page)
    dark_is_high = page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE)
    return page.dtype.type(0 if dark_is_high else 2**page.bitspersample - 1)


def _no_data(path: Path, page: Any) -> np.generic:
    """Return the page's no-data value as GDAL declares it (tag 42113), else 0.

    Raises:
        DataError: it is no value of the page.
    """
    text = page.tags.valueof(_GDAL_NODATA)
    if text is None:
        return page.dtype.type(0)
    with suppress(ValueError):
        value = float(str(text).strip("\0 "))
        if value.is_integer() and 0 <= value < 2**page.bitspersample:
            return page.dtype.type(int(value))
    raise DataError(
        f"{path}: has parts that were never written and the no-data value {text!r}, which its "
        f"{page.bitspersample} bits cannot hold; write all of it, or correct GDAL_NODATA"
    )


def _declared_white(page: Any) -> int | None:
    """Return the largest value of a sample as the page declares it, if that is less than its bits
    can hold.
    """
    values = page.tags.valueof(_MAX_SAMPLE_VALUE)
    if values is None:
        return None
    highest = max(map(int, values if isinstance(values, tuple) else (values,)))
    return highest if 0 < highest < 2**page.bitspersample - 1 else None


def _chunks_in(page: Any, box: Box) -> Iterator[int]:
    """Yield the numbers of the tiles or strips that hold pixels of `box`."""
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    num_rows, num_cols = -(-page.imagelength // height), -(-page.imagewidth // width)
    separate = page.planarconfig == 2
    for plane in range(page.samplesperpixel if separate else 1):
        for row in range(box.top // height, (box.top + box.height - 1) // height + 1):
            for col in range(box.left // width, (box.left + box.width - 1) // width + 1):
                yield (plane * num_rows + row) * num_cols + col


def _copy_overlap(chunk: np.ndarray, top: int, left: int, out: np.ndarray) -> None:
    """Place `chunk` [h, w, c] at (top, left) in `out` and copy the part that lies inside."""
    bottom, right = (
        min(top + chunk.shape[0], out.shape[0]),
        min(left + chunk.shape[1], out.shape[1]),
    )
    rows, cols = slice(max(top, 0), bottom), slice(max(left, 0), right)
    out[rows, cols, : chunk.shape[2]] = chunk[
        rows.start - top : bottom - top, cols.start - left : right - left
    ]


def _tiff_to_rgb(pixels: np.ndarray, page: Any, depth: Depth) -> np.ndarray:
    """Return the samples [h, w, samples] of a page as uint8 RGB."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    if page.photometric == PHOTOMETRIC.PALETTE:
        return _palette(page)[pixels[..., 0]]
    num_colours = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
    colour = depth.to_uint8(pixels[..., :num_colours])
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        colour = 255 - colour
    colour = np.broadcast_to(colour, (*pixels.shape[:2], 3))
    extra = page.extrasamples[0] if page.extrasamples else None
    alpha = scaled(pixels[..., num_colours : num_colours + 1], page.bitspersample)
    if extra == EXTRASAMPLE.UNASSALPHA:
        return on_white(np.concatenate([colour, alpha], axis=2))
    if extra == EXTRASAMPLE.ASSOCALPHA:  # colours are already multiplied by alpha
        return np.maximum(colour, colour + (WHITE - alpha))
    return np.ascontiguousarray(colour)


def _palette(page: Any) -> np.ndarray:
    """Return the colours of a page's palette, uint8 [colours, 3]."""
    colours = np.asarray(page.colormap).T
    # old programs wrote 8-bit colours where 16-bit ones belong
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _is_opaque(samples: np.ndarray, page: Any) -> bool:
    from tifffile import EXTRASAMPLE

    alphas = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
    if not page.extrasamples or page.extrasamples[0] not in alphas:
        return True
    alpha = samples[..., -len(page.extrasamples)]
    return bool(alpha.min() == 2**page.bitspersample - 1)


READER = Reader((".tif", ".tiff"), takes=is_tiff, open=_open)
