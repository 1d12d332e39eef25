"""Whole-slide images in scanner formats, read by OpenSlide."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from patchtrain.images.source import Box, ImageSource, Reader, on_white
from patchtrain.images.tiff_check import check_tiff, is_tiff


def _vendor(path: Path) -> str | None:
    """Return the scanner format of the file; None if OpenSlide is missing or does not know it."""
    openslide = _openslide()
    return openslide.OpenSlide.detect_format(path) if openslide else None


def _is_slide(path: Path) -> bool:
    # plain tiled pyramids are slides to OpenSlide too, but tifffile decodes the same pixels
    # several times faster
    return _vendor(path) not in (None, "generic-tiff")


def _open(path: Path) -> ImageSource:
    # NDPI files of 4 GB and more bend the TIFF rules; OpenSlide checks them itself
    if _vendor(path) != "hamamatsu" and is_tiff(path):
        check_tiff(path)
    return _OpenSlideSource(path)


class _OpenSlideSource(ImageSource):
    """A whole-slide image; regions that were not scanned are white."""

    def __init__(self, path: Path) -> None:
        openslide = _openslide()
        assert openslide is not None, "_is_slide comes first"
        self._slide = openslide.OpenSlide(path)
        super().__init__(path, [(height, width) for width, height in self._slide.level_dimensions])

    def _read_level(self, level: int, box: Box) -> np.ndarray:
        level_height, level_width = self.level_sizes[level]
        location = (
            round(box.left * self.width / level_width),
            round(box.top * self.height / level_height),
        )
        region = self._slide.read_region(location, level, (box.width, box.height))
        return on_white(np.asarray(region))

    def close(self) -> None:
        self._slide.close()


@cache
def _openslide() -> ModuleType | None:
    """Return the openslide module; None if it or the C library is not installed."""
    try:
        import openslide
    except (ImportError, OSError):
        return None
    return openslide


READER = Reader((".ndpi", ".scn", ".svs"), takes=_is_slide, open=_open)
