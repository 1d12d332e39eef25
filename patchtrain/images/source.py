"""`ImageSource`: an open image file of any kind, read by regions and as thumbnails.

Knows nothing of any one file kind, of data sets or of patches. Every reader gives uint8 RGB arrays
[height, width, 3], and leaves pixels as they are stored: an orientation tag is reported as
`ImageSource.orientation`, not applied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from PIL import Image

from patchtrain.errors import DataError, not_given
from patchtrain.images.depth import Depth, ValueRange, ValuesSeen

WHITE = 255
"""What shows through transparent pixels and around images: the background of a slide."""

_STRIP_PX = 2**26
"""Most pixels of a level decoded at once for a thumbnail (256 MiB as RGBA)."""

UPRIGHT = 1
"""Orientation tag (TIFF and EXIF 274) of a picture that is shown as it is stored."""

ORIENTATION_TAG = 274


class Box(NamedTuple):
    """A region of an image, in px at full resolution."""

    top: int
    left: int
    height: int
    width: int


class Stored(NamedTuple):
    """Pixels as stored in a file, for pictures whose values are numbers instead of colours.

    Parts of the file that were never written have its no-data value, else 0.
    """

    values: np.ndarray
    """Grey values or palette indices of any depth [height, width]; otherwise uint8
    [height, width, 3] as from `ImageSource.read`. GIF too, since programs renumber GIF palettes."""
    colours: Callable[[], np.ndarray]
    """Works out the same pixels as colours, uint8 [height, width, 3]."""
    is_palette: bool
    """Whether the values are palette indices."""
    is_opaque: bool
    """Whether no pixel is transparent."""
    is_lossy: bool
    """Whether the compression (JPEG and the like) changes values a little."""


class ImageSource(ABC):
    """An open image file; close it, or use it in a `with` block.

    Attributes:
        path: the file.
        level_sizes: (height, width) in px of each resolution stored, the full one first.
    """

    def __init__(
        self, path: Path, level_sizes: list[tuple[int, int]], depth: Depth | None = None
    ) -> None:
        self.path = path
        self.level_sizes = level_sizes
        self._depth = depth

    def use_values(self, value_range: ValueRange) -> None:
        """Make `value_range` black and white if samples have more than 8 bits."""
        if self._depth is not None:
            self._depth.use(value_range)

    @property
    def values_seen(self) -> ValuesSeen | None:
        """The colour values read so far, if they have more than 8 bits."""
        return None if self._depth is None else self._depth.seen

    @property
    def orientation(self) -> int:
        """How viewers turn or mirror the stored pixels: the orientation tag, 1 to 8."""
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
        with decoding(self.path):
            return self._read_level(0, box)

    def thumbnail(self, height_px: int, width_px: int) -> np.ndarray:
        """Return the whole image resized with antialiasing to uint8 [height_px, width_px, 3].

        Reads the smallest stored level that is large enough, strip by strip, so that a slide
        without small levels is never held in memory as a whole.

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
        # averaging whole blocks is fast; the better filter does the last factor of 2
        block_rows = max(1, level_height // (2 * height_px))
        block_cols = max(1, level_width // (2 * width_px))
        rows = block_rows * max(1, _STRIP_PX // (level_width * block_rows))
        strips = []
        with decoding(self.path):
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
        """Return the pixels as stored in the file.

        Raises:
            DataError: the pixels are damaged, or the file is a slide.
        """
        with decoding(self.path):
            return self._read_stored()

    def _read_stored(self) -> Stored:
        raise DataError(f"{self.path}: is a slide, not a picture of numbers; save it as PNG")

    def _level_for(self, height_px: int, width_px: int) -> int:
        """Return the smallest level of at least this size, less 1 px for rounded levels."""
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


class Reader(NamedTuple):
    """How images of one file kind are recognised and opened."""

    suffixes: tuple[str, ...]
    """Of their names, in lower case. Only these files are images of a data set's folder."""
    takes: Callable[[Path], bool]
    """Whether the file (or folder) is of this kind, judged by its content."""
    open: Callable[[Path], ImageSource]
    """Raises DataError if the file is damaged or not supported."""
    is_folder: bool = False
    """Whether an image of this kind is a folder instead of a file."""


def a_stack(path: Path, count: int) -> DataError:
    """Return the error for a file that holds several images."""
    return DataError(f"{path}: is a stack of {count} images; save each as a file of its own")


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into a DataError of one line that names the file."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        refused = not_given(error)
        if refused is not None:
            raise DataError(f"{path}: {refused}") from error
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: cannot be decoded ({cause}); restore it from the original"
        ) from error


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Return uint8 RGBA pixels laid on white, as RGB."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + WHITE * (255 - alpha) + 127) // 255).astype(np.uint8)
