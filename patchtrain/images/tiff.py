"""TIFF files, tiled pyramids included, read by tifffile.

`page` is a TiffPage of tifffile, which carries no types.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from patchtrain.errors import DataError
from patchtrain.images.lossy import is_lossy
from patchtrain.images.source import (
    ORIENTATION_TAG,
    UPRIGHT,
    WHITE,
    Box,
    ImageSource,
    Reader,
    Stored,
    a_stack,
    on_white,
    to_uint8,
)
from patchtrain.images.tiff_check import check_tiff, is_tiff

# reports on stderr what is raised as DataError here; programs that set up logging still see it
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _open(path: Path) -> ImageSource:
    check_tiff(path)
    return _TiffSource(path)


class _TiffSource(ImageSource):
    """The first image of a TIFF, tiled or in strips, with smaller levels if there are any."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        try:
            self._pages = [level.keyframe for level in self._file.series[0].levels]
            _check_supported(path, self._pages[0])
            if len(self._file.series[0].levels[0].pages) > 1:
                count = len(self._file.series[0].levels[0].pages)
                raise a_stack(path, count)
        except BaseException:
            self._file.close()
            raise
        super().__init__(path, [(page.imagelength, page.imagewidth) for page in self._pages])

    @property
    def orientation(self) -> int:
        tag = self._pages[0].tags.get(ORIENTATION_TAG)
        return UPRIGHT if tag is None else int(tag.value)

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        page = self._pages[level]
        return _tiff_to_rgb(self._read_samples(page, box), page)

    def _read_stored(self) -> Stored:
        from tifffile import COMPRESSION, PHOTOMETRIC

        page = self._pages[0]
        samples = self._read_samples(page, Box(0, 0, self.height, self.width))
        is_number = samples.shape[2] == 1 and page.photometric != PHOTOMETRIC.MINISWHITE
        return Stored(
            samples[..., 0] if is_number else _tiff_to_rgb(samples, page),
            is_palette=page.photometric == PHOTOMETRIC.PALETTE,
            is_opaque=_is_opaque(samples, page),
            is_lossy=page.compression in (COMPRESSION.OJPEG, COMPRESSION.JPEG)
            or is_lossy(self._encoded(page, 0) or b""),
        )

    def _read_samples(self, page: Any, box: Box) -> np.ndarray:
        """Return the samples [box height, box width, samples] of a page as stored."""
        # chunks that were never written are background, as in OpenSlide
        pixels = np.full((box.height, box.width, page.samplesperpixel), _background(page))
        for number in _chunks_in(page, box):
            chunk, place, _ = page.decode(
                self._encoded(page, number),
                number,
                jpegtables=page.jpegtables,
                jpegheader=page.jpegheader,
            )
            if chunk is not None:
                plane, _, top, left, _ = place
                _copy_overlap(chunk[0], top - box.top, left - box.left, pixels[..., plane:])
        return pixels

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
    elif page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.NONE:
        what = "uncompressed YCbCr"
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


def _background(page: Any) -> np.generic:
    from tifffile import PHOTOMETRIC

    dark_is_high = page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE)
    return page.dtype.type(0 if dark_is_high else 2**page.bitspersample - 1)


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


def _tiff_to_rgb(pixels: np.ndarray, page: Any) -> np.ndarray:
    """Return the samples [h, w, samples] of a page as uint8 RGB."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    if page.photometric == PHOTOMETRIC.PALETTE:
        return (page.colormap >> 8).astype(np.uint8).T[pixels[..., 0]]
    samples = to_uint8(pixels, page.bitspersample)
    num_colours = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
    colour = samples[..., :num_colours]
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        colour = 255 - colour
    colour = np.broadcast_to(colour, (*samples.shape[:2], 3))
    extra = page.extrasamples[0] if page.extrasamples else None
    alpha = samples[..., num_colours : num_colours + 1]
    if extra == EXTRASAMPLE.UNASSALPHA:
        return on_white(np.concatenate([colour, alpha], axis=2))
    if extra == EXTRASAMPLE.ASSOCALPHA:  # colours are already multiplied by alpha
        return np.maximum(colour, colour + (WHITE - alpha))
    return np.ascontiguousarray(colour)


def _is_opaque(samples: np.ndarray, page: Any) -> bool:
    from tifffile import EXTRASAMPLE

    alphas = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
    if not page.extrasamples or page.extrasamples[0] not in alphas:
        return True
    alpha = samples[..., -len(page.extrasamples)]
    return bool(alpha.min() == 2**page.bitspersample - 1)


READER = Reader((".tif", ".tiff"), takes=is_tiff, open=_open)
