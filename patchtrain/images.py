"""Reads regions and thumbnails of images of any size; knows nothing of data sets or patches.

One reader per file kind: OpenSlide for slides in scanner formats, tifffile for other TIFF (tiled
pyramids included), Pillow for the rest. All give uint8 RGB arrays [height, width, 3]. Orientation
tags are left alone, and told as `ImageSource.orientation`: pixels come as stored.
"""

from __future__ import annotations

import logging
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from patchtrain.errors import DataError
from patchtrain.tiff_check import check_tiff, is_tiff

WHITE = 255
"""What shows through transparent pixels and around images: the background of a slide."""

_STRIP_PX = 2**26
"""Most pixels of a level decoded at once for a thumbnail (256 MiB as RGBA)."""

_MAX_UNTILED_PX = 2**30
"""Most pixels of an image that can only be decoded whole (3 GiB as RGB)."""

# Both report on stderr what this module reports as DataError. Whoever sets up logging sees it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.")


UPRIGHT = 1
"""Orientation tag (TIFF and EXIF 274) of a picture that is shown as it is stored."""

_ORIENTATION_TAG = 274


class Box(NamedTuple):
    """A region of an image in px of its full resolution."""

    top: int
    left: int
    height: int
    width: int


class Stored(NamedTuple):
    """Pixels as they stand in a file, for pictures whose values are numbers and not light."""

    values: np.ndarray
    """Grey values or palette indices, of any depth [height, width]; else uint8 [height, width, 3]
    as `ImageSource.read` gives them, also of GIF: programs renumber its palette as they like."""
    is_palette: bool
    """Whether the values are indices of a palette."""
    is_opaque: bool
    """Whether no pixel is transparent."""
    is_lossy: bool
    """Whether the file is compressed as JPEG or its like, which keeps values only about."""


class ImageSource(ABC):
    """An open image file; close it, or use it in a `with` block.

    Attributes:
        path: the file.
        level_sizes: (height, width) in px of each resolution stored, the full one first.
    """

    def __init__(self, path: Path, level_sizes: list[tuple[int, int]]) -> None:
        self.path = path
        self.level_sizes = level_sizes

    @property
    def orientation(self) -> int:
        """How viewers turn or mirror the stored pixels, as the orientation tag has it (1 to 8)."""
        return UPRIGHT

    @property
    def height(self) -> int:
        """Rows at full resolution, in px."""
        return self.level_sizes[0][0]

    @property
    def width(self) -> int:
        """Columns at full resolution, in px."""
        return self.level_sizes[0][1]

    def read(self, box: Box | tuple[int, int, int, int]) -> np.ndarray:
        """Return the region as uint8 [box height, box width, 3].

        Raises:
            ValueError: the box is empty or reaches outside the image; nothing is padded.
            DataError: the pixels are damaged.
        """
        box = Box(*box)
        inside = box.top >= 0 and box.left >= 0 and box.height > 0 and box.width > 0
        inside &= box.top + box.height <= self.height and box.left + box.width <= self.width
        if not inside:
            raise ValueError(f"{box} does not lie inside the {self.height} x {self.width} px image")
        with _decoding(self.path):
            return self._read_level(0, box)

    def thumbnail(self, height_px: int, width_px: int) -> np.ndarray:
        """Return the whole image resized with antialiasing to uint8 [height_px, width_px, 3].

        Read from the smallest stored level that is not smaller than wanted, in strips, so that a
        slide without small levels needs no memory of its own size.

        Raises:
            ValueError: a side is below 1.
            DataError: the pixels are damaged.
        """
        if min(height_px, width_px) < 1:
            raise ValueError(f"a thumbnail of {height_px} x {width_px} px has no pixels")
        level = self._level_for(height_px, width_px)
        level_height, level_width = self.level_sizes[level]
        if min(level_height, level_width) < 1:
            raise DataError(f"{self.path}: has no pixels; restore it from the original")
        # averaging whole blocks is fast; the last factor of 2 is left to the better filter
        block_rows = max(1, level_height // (2 * height_px))
        block_cols = max(1, level_width // (2 * width_px))
        rows = block_rows * max(1, _STRIP_PX // (level_width * block_rows))
        strips = []
        with _decoding(self.path):
            for top in range(0, level_height, rows):
                box = Box(top, 0, min(rows, level_height - top), level_width)
                strip = Image.fromarray(self._read_level(level, box))
                strips.append(np.asarray(strip.reduce((block_cols, block_rows))))
        return np.asarray(
            Image.fromarray(np.concatenate(strips)).resize(
                (width_px, height_px),
                Image.Resampling.LANCZOS,
                box=(0, 0, level_width / block_cols, level_height / block_rows),
            )
        )

    def read_stored(self) -> Stored:
        """Return the pixels as they stand in the file.

        Raises:
            DataError: the pixels are damaged, or the file is a slide.
        """
        with _decoding(self.path):
            return self._read_stored()

    def _read_stored(self) -> Stored:
        raise DataError(f"{self.path}: is a slide, not a picture of numbers; save it as PNG")

    def _level_for(self, height_px: int, width_px: int) -> int:
        """Return the smallest level that has the wanted size, less 1 px for rounded levels."""
        large_enough = [
            level
            for level, (height, width) in enumerate(self.level_sizes)
            if height >= height_px - 1 and width >= width_px - 1
        ]
        return min(large_enough, key=lambda level: self.level_sizes[level], default=0)

    @abstractmethod
    def _read_level(self, level: int, box: Box) -> np.ndarray:
        """Return the region (in px of that level, inside it) as uint8 RGB."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_image(path: str | Path) -> ImageSource:
    """Open the image `path` with the reader of its kind.

    Transparency is laid on white, 16-bit samples are scaled to 8, grey becomes RGB.

    Raises:
        DataError: missing, empty, a truncated TIFF, no image, or of a kind that is not read.
            Damaged pixels of other files are found when they are read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist; restore it, or correct the path")
    if not path.is_file():
        raise DataError(f"{path}: is a folder, not an image; put the image file in its place")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); restore it from the original")
    with _decoding(path):
        openslide = _openslide()
        vendor = openslide and openslide.OpenSlide.detect_format(path)
        # NDPI files of 4 GB and more bend the TIFF rules; OpenSlide checks them itself
        tiff = vendor != "hamamatsu" and is_tiff(path)
        if tiff:
            check_tiff(path)
        # plain tiled pyramids too are slides to OpenSlide, but tifffile decodes the same pixels
        # several times faster
        if vendor and vendor != "generic-tiff":
            return _OpenSlideSource(path)
        return _TiffSource(path) if tiff else _PillowSource(path)


def place_in_square(height_px: int, width_px: int, size_px: int) -> Box:
    """Return where an image of `height_px` x `width_px` lies in a square of `size_px`.

    The aspect ratio is kept: the longer side becomes `size_px` (smaller images are enlarged) and
    the image lies in the middle.
    """
    scale = size_px / max(height_px, width_px)
    height = max(1, round(height_px * scale))
    width = max(1, round(width_px * scale))
    return Box((size_px - height) // 2, (size_px - width) // 2, height, width)


def fit_square(source: ImageSource, size_px: int) -> np.ndarray:
    """Return the image as uint8 [size_px, size_px, 3], placed by `place_in_square` on white."""
    box = place_in_square(source.height, source.width, size_px)
    square = np.full((size_px, size_px, 3), WHITE, np.uint8)
    square[_inside(box)] = source.thumbnail(box.height, box.width)
    return square


def fit_labels(labels: np.ndarray, size_px: int, padding: int) -> np.ndarray:
    """Return the uint8 `labels` [height, width] of an image as [size_px, size_px], each where
    `fit_square` puts its pixel, with `padding` around.

    Every label is one that was there: that of the pixel which holds the centre of the new one.
    """
    height_px, width_px = labels.shape
    box = place_in_square(height_px, width_px, size_px)
    square = np.full((size_px, size_px), padding, np.uint8)
    square[_inside(box)] = _resize_labels(labels, box.height, box.width)
    return square


def unfit_square(square: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return the uint8 labels [size, size] of a fitted image in the image's own size, uint8
    [height_px, width_px]: the inverse of `fit_labels`, exact where that did not shrink.
    """
    box = place_in_square(height_px, width_px, len(square))
    return _resize_labels(square[_inside(box)], height_px, width_px)


def _inside(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _resize_labels(labels: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """Return `labels` resized by Pillow's NEAREST, which reads the pixel that holds the centre of
    the new one (unlike that of OpenCV and of torch's `nearest`, which read at its corner).
    """
    resized = Image.fromarray(labels).resize((width_px, height_px), Image.Resampling.NEAREST)
    return np.array(resized)


class _OpenSlideSource(ImageSource):
    """A whole-slide image; regions that the scanner left out are white."""

    def __init__(self, path: Path) -> None:
        openslide = _openslide()
        assert openslide is not None, "open_image asks before"
        self._slide = openslide.OpenSlide(path)
        super().__init__(path, [(height, width) for width, height in self._slide.level_dimensions])

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        level_height, level_width = self.level_sizes[level]
        location = (
            round(box.left * self.width / level_width),
            round(box.top * self.height / level_height),
        )
        region = self._slide.read_region(location, level, (box.width, box.height))
        return _on_white(np.asarray(region))

    def close(self) -> None:
        self._slide.close()


class _TiffSource(ImageSource):
    """The first image of a TIFF, tiled or in strips, with its smaller levels where it has them."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        try:
            self._pages = [level.keyframe for level in self._file.series[0].levels]
            _check_supported(path, self._pages[0])
            if len(self._file.series[0].levels[0].pages) > 1:
                count = len(self._file.series[0].levels[0].pages)
                raise _is_a_stack(path, count)
        except BaseException:
            self._file.close()
            raise
        super().__init__(path, [(page.imagelength, page.imagewidth) for page in self._pages])

    @property
    def orientation(self) -> int:
        tag = self._pages[0].tags.get(_ORIENTATION_TAG)
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
            or _loses(self._encoded(page, 0) or b""),
        )

    def _read_samples(self, page: Any, box: Box) -> np.ndarray:
        """Return the samples [box height, box width, samples] of a page as stored."""
        # chunks that were never written are background, as OpenSlide has it
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


class _PillowSource(ImageSource):
    """An image that can only be decoded whole, which happens at the first read."""

    def __init__(self, path: Path) -> None:
        self._image = _open_with_pillow(path)
        height, width = self._image.height, self._image.width
        try:
            _check_single(path, self._image)
            if height * width > _MAX_UNTILED_PX:
                raise DataError(
                    f"{path}: has {height} x {width} px, more than {_MAX_UNTILED_PX} that can only "
                    "be decoded whole; convert it to a tiled TIFF"
                )
        except DataError:
            self._image.close()
            raise
        # Pillow spreads greys over all of its own, and forgets it when the pixels are loaded
        self._highest_grey = _highest_grey(self._image)
        super().__init__(path, [(height, width)])

    @property
    def orientation(self) -> int:
        with _decoding(self.path):
            tag = self._image.getexif().get(_ORIENTATION_TAG, UPRIGHT)
        return tag if isinstance(tag, int) and 1 <= tag <= 8 else UPRIGHT

    @cached_property
    def _pixels(self) -> np.ndarray:
        return _pillow_to_rgb(self.path, self._image)

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        rows = slice(box.top, box.top + box.height)
        return self._pixels[rows, box.left : box.left + box.width].copy()

    def _read_stored(self) -> Stored:
        image = self._image
        if image.mode == "L" or image.mode.startswith("I"):
            values = np.asarray(image)
            if self._highest_grey is not None:
                white = 255 if image.mode == "L" else 65535
                numbers = (values.astype(np.int64) * self._highest_grey + white // 2) // white
                values = numbers.astype(values.dtype)
        elif image.mode in ("1", "P") and image.format != "GIF":
            values = np.asarray(image)
        else:
            values = self._pixels
        return Stored(
            values,
            is_palette=image.mode == "P" and values.ndim == 2,
            is_opaque=_is_opaque_picture(image),
            is_lossy=image.format in ("JPEG", "MPO") or _loses(_head(self.path)),
        )

    def close(self) -> None:
        self._image.close()


def _is_a_stack(path: Path, count: int) -> DataError:
    return DataError(f"{path}: is a stack of {count} images; save each as a file of its own")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a DataError of one line that names the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: cannot be decoded ({cause}); restore it from the original"
        ) from error


@cache
def _openslide() -> ModuleType | None:
    """Return the openslide module; None where it or its C library is not installed."""
    try:
        import openslide
    except (ImportError, OSError):
        return None
    return openslide


# --- TIFF pages (tifffile's TiffPage, which carries no types) ---


def _check_supported(path: Path, page: Any) -> None:
    """Raise DataError unless the pixels of the page are grey, palette or RGB of at most 16 bits."""
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
        what = f"an image of {page.samplesperpixel} channels that are not said to be colours"
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
    """Copy what of `chunk` [h, w, c], placed at (top, left) in `out`, lies inside `out`."""
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
    samples = _to_uint8(pixels, page.bitspersample)
    num_colours = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
    colour = samples[..., :num_colours]
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        colour = 255 - colour
    colour = np.broadcast_to(colour, (*samples.shape[:2], 3))
    extra = page.extrasamples[0] if page.extrasamples else None
    alpha = samples[..., num_colours : num_colours + 1]
    if extra == EXTRASAMPLE.UNASSALPHA:
        return _on_white(np.concatenate([colour, alpha], axis=2))
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


# --- compression that may or may not lose something ---

_CODESTREAM, _COD = b"\xff\x4f\xff\x51", b"\xff\x52"
_HEAD_BYTES = 2**16


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _loses(head: bytes) -> bool:
    """Return whether a file or TIFF chunk that starts so is WebP or JPEG 2000 that loses detail."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _has_lossy_frame(head)
    codestream = head.find(_CODESTREAM)
    style = head.find(_COD, codestream)
    if codestream < 0 or style < 0:
        return False
    return head[style + 13 : style + 14] == b"\x00"  # the 9-7 wavelet; 5-3 is exact


def _has_lossy_frame(webp: bytes) -> bool:
    """Return whether a WebP's first frame is `VP8 `, not `VP8L`."""
    at = 12
    while at + 8 <= len(webp):
        kind, size = webp[at : at + 4], int.from_bytes(webp[at + 4 : at + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # frames of an animation lie within their chunk
        at += 24 if kind == b"ANMF" else 8 + size + size % 2
    return False


# --- Pillow images ---

_PILLOW_FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP", "GIF", "PPM")
"""Others run external programs (EPS) or are recognised too easily."""

_bomb_limit_lock = threading.Lock()


def _open_with_pillow(path: Path) -> Image.Image:
    with _bomb_limit_lock:
        Image.init()  # registers the formats, once
        # Pillow's own limit is a global and far below a slide's size; _MAX_UNTILED_PX is ours
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(
                path, formats=[name for name in _PILLOW_FORMATS if name in Image.OPEN]
            )
        except UnidentifiedImageError:
            raise DataError(
                f"{path}: is no image of a known kind; put a TIFF, PNG or JPEG in its place"
            ) from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _pillow_to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels cannot be read; convert it to 8-bit RGB")
    if image.mode.startswith("I"):  # 16-bit grey, also where Pillow holds it in 32 bits
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() >= 2**16:
            raise DataError(f"{path}: 32-bit pixels cannot be read; convert it to 8-bit RGB")
        return np.repeat(_to_uint8(grey, 16)[..., None], 3, axis=2)
    if image.has_transparency_data:
        return _on_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _check_single(path: Path, image: Image.Image) -> None:
    if image.format == "MPO":  # a JPEG with a preview or a map of depths as its second picture
        return
    with _decoding(path):
        count = getattr(image, "n_frames", 1)
    if count > 1:
        raise _is_a_stack(path, count)


def _highest_grey(image: Image.Image) -> int | None:
    """Return the number that white has in the file, if Pillow puts another in its place."""
    tile = getattr(image, "tile", None)
    stored_as = tile[0].args if tile else None
    if image.format == "PPM" and isinstance(stored_as, tuple):
        return int(stored_as[-1])
    return {"L;2": 3, "L;4": 15}.get(str(stored_as))


def _is_opaque_picture(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return True
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() == 255)


# --- pixels ---


def _to_uint8(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of `bits` bits as 8-bit samples: the highest value becomes 255."""
    if bits == 8:
        return pixels
    highest = 2**bits - 1
    return ((pixels.astype(np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Return uint8 RGBA pixels laid on white, as RGB."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + WHITE * (255 - alpha) + 127) // 255).astype(np.uint8)
