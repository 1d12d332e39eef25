"""Pictures of all other kinds (PNG, JPEG, ...), read by Pillow."""

from __future__ import annotations

import threading
import warnings
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from patchtrain.errors import DataError
from patchtrain.images.deep import decode_deep, deep_kind
from patchtrain.images.depth import Depth, scaled
from patchtrain.images.lossy import is_lossy
from patchtrain.images.source import (
    ORIENTATION_TAG,
    UPRIGHT,
    Box,
    ImageSource,
    Reader,
    Stored,
    a_stack,
    decoding,
    on_white,
)

_MAX_UNTILED_PX = 2**30
"""Most pixels of an image that can only be decoded whole (3 GiB as RGB)."""

_HEAD_BYTES = 2**16
"""From the start of a file, enough to tell whether its compression loses detail."""

_PILLOW_FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP", "GIF", "PPM")
"""Others run external programs (EPS) or are recognised too easily."""

_bomb_limit_lock = threading.Lock()

# reports on stderr what is raised as DataError here
warnings.filterwarnings("ignore", module=r"PIL\.")


class _PillowSource(ImageSource):
    """An image that can only be decoded as a whole, at the first read."""

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
        # Pillow stretches greys to its own range, and forgets the original one on loading
        self._highest_grey = _highest_grey(self._image)
        self._head = _head(path)
        self._deep = deep_kind(self._head)
        bits = 16 if self._deep is None else self._deep.bits
        self._to_8_bits = Depth(path, bits)
        super().__init__(path, [(height, width)], self._to_8_bits)

    @property
    def orientation(self) -> int:
        with decoding(self.path):
            tag = self._image.getexif().get(ORIENTATION_TAG, UPRIGHT)
        return tag if isinstance(tag, int) and 1 <= tag <= 8 else UPRIGHT

    @cached_property
    def _pixels(self) -> np.ndarray:
        if self._deep is not None:
            return _deep_to_rgb(self._deep_samples, self._deep.bits, self._to_8_bits)
        return _pillow_to_rgb(self.path, self._image, self._to_8_bits)

    @cached_property
    def _deep_samples(self) -> np.ndarray:
        assert self._deep is not None, "asked for pictures of more than 8 bits only"
        return decode_deep(self.path, self._deep)

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        rows = slice(box.top, box.top + box.height)
        return self._pixels[rows, box.left : box.left + box.width].copy()

    def _read_stored(self) -> Stored:
        image = self._image
        if self._deep is not None and self._deep.num_samples == 1:
            values = self._deep_samples[..., 0]
        elif image.mode == "L" or image.mode.startswith("I"):
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
            colours=lambda: self._pixels,
            is_palette=image.mode == "P" and values.ndim == 2,
            is_opaque=_is_opaque_picture(image),
            is_lossy=image.format in ("JPEG", "MPO") or is_lossy(self._head),
        )

    def close(self) -> None:
        self._image.close()


def _open_with_pillow(path: Path) -> Image.Image:
    with _bomb_limit_lock:
        Image.init()  # registers the formats, once
        # Pillow's own limit is global and far below the size of slides; _MAX_UNTILED_PX is ours
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(
                path, formats=[name for name in _PILLOW_FORMATS if name in Image.OPEN]
            )
        except UnidentifiedImageError:
            raise DataError(
                f"{path}: is not an image of a known kind; replace it with a TIFF, PNG or JPEG"
            ) from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _deep_to_rgb(samples: np.ndarray, bits: int, depth: Depth) -> np.ndarray:
    """Return samples [h, w, samples] of more than 8 bits, the last one of 2 and 4 being alpha."""
    has_alpha = samples.shape[2] in (2, 4)
    colours = depth.to_uint8(samples[..., : samples.shape[2] - has_alpha])
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    if not has_alpha:
        return np.ascontiguousarray(colours[..., :3])
    return on_white(np.concatenate([colours, scaled(samples[..., -1:], bits)], axis=2))


def _pillow_to_rgb(path: Path, image: Image.Image, depth: Depth) -> np.ndarray:
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels cannot be read; convert it to 8-bit RGB")
    if image.mode.startswith("I"):  # 16-bit grey, also where Pillow holds it in 32 bits
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() >= 2**16:
            raise DataError(f"{path}: 32-bit pixels cannot be read; convert it to 8-bit RGB")
        return np.repeat(depth.to_uint8(grey)[..., None], 3, axis=2)
    if image.has_transparency_data:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def _check_single(path: Path, image: Image.Image) -> None:
    if image.format == "MPO":  # a JPEG with a preview or a depth map as second picture
        return
    with decoding(path):
        count = getattr(image, "n_frames", 1)
    if count > 1:
        raise a_stack(path, count)


def _highest_grey(image: Image.Image) -> int | None:
    """Return the number that stands for white in the file, if Pillow changes it."""
    tile = getattr(image, "tile", None)
    stored_as = tile[0].args if tile else None
    if image.format == "PPM" and isinstance(stored_as, tuple):
        return int(stored_as[-1])
    return {"L;2": 3, "L;4": 15}.get(str(stored_as))


def _is_opaque_picture(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return True
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() == 255)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


READER = Reader(
    (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"),
    takes=lambda path: True,  # Pillow says what it does not know
    open=_PillowSource,
)
