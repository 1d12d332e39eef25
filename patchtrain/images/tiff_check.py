"""Finds TIFF files that were cut short, by their structure alone; knows nothing of pixels.

Libraries silently read the missing part of a truncated file as black, or drop the missing pages.
Here every page, and every tile and strip of every page, must lie inside the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from patchtrain.errors import DataError

_CLASSIC, _BIG = 42, 43
_BYTES_OF_TYPE = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""TIFF type -> bytes, for the types in which offsets and sizes are written."""
_SUB_PAGES = 330
_OFFSETS_AND_SIZES = ((273, 279), (324, 325))
"""Tags with the offsets and sizes of strips, and of tiles."""

_Page = dict[int, np.ndarray]
"""Tag -> values, for the tags above."""


@dataclass(frozen=True)
class _Layout:
    """How this file writes numbers: byte order, and field widths in bytes."""

    byte_order: str
    count_bytes: int
    offset_bytes: int

    def integer(self, raw: bytes) -> int:
        return int.from_bytes(raw, "little" if self.byte_order == "<" else "big")

    def integers(self, raw: bytes, width_bytes: int) -> np.ndarray:
        return np.frombuffer(raw, f"{self.byte_order}u{width_bytes}").astype(np.uint64)


def is_tiff(path: Path) -> bool:
    """Return whether the file starts like a TIFF."""
    with path.open("rb") as file:
        return _layout(file.read(4)) is not None


def check_tiff(path: Path) -> None:
    """Check that the TIFF `path` holds everything its directories refer to.

    Raises:
        DataError: it was cut short, or the directories are damaged.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        try:
            for number, page in enumerate(_pages(file)):
                missing_bytes = _end_of_pixels(page) - size_bytes
                if missing_bytes > 0:
                    raise _cut_short(
                        path, f"page {number} lacks at least {missing_bytes:,} bytes of pixels"
                    )
        except EOFError as error:
            raise _cut_short(path, str(error)) from None


def _cut_short(path: Path, how: str) -> DataError:
    return DataError(f"{path}: is damaged or cut short ({how}); restore it from the original")


def _layout(head: bytes) -> _Layout | None:
    byte_order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if byte_order is None or len(head) < 4:
        return None
    version = int.from_bytes(head[2:4], "little" if byte_order == "<" else "big")
    if version == _CLASSIC:
        return _Layout(byte_order, count_bytes=2, offset_bytes=4)
    if version == _BIG:
        return _Layout(byte_order, count_bytes=8, offset_bytes=8)
    return None


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Yield the pages of the main chain and their sub-pages.

    Raises:
        EOFError: a directory is missing or lies outside the file.
    """
    layout = _layout(_read(file, 0, 4))
    assert layout is not None, "callers check is_tiff first"
    first_offset = layout.integer(_read(file, layout.offset_bytes, layout.offset_bytes))
    if first_offset == 0:
        raise EOFError("there is no page")
    waiting, seen = [first_offset], set()
    while waiting:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        page, next_offset = _directory(file, layout, offset)
        waiting += [next_offset, *map(int, page.get(_SUB_PAGES, ()))]
        yield page


def _directory(file: BinaryIO, layout: _Layout, offset: int) -> tuple[_Page, int]:
    """Return the tags of the directory at `offset`, and where the next directory lies."""
    num_tags = layout.integer(_read(file, offset, layout.count_bytes))
    if num_tags == 0:
        raise EOFError("a page has no tags")
    tag_bytes = 4 + 2 * layout.offset_bytes
    tags_offset = offset + layout.count_bytes
    raw = _read(file, tags_offset, num_tags * tag_bytes + layout.offset_bytes)
    page = {}
    for start in range(0, num_tags * tag_bytes, tag_bytes):
        tag = layout.integer(raw[start : start + 2])
        if tag == _SUB_PAGES or any(tag in pair for pair in _OFFSETS_AND_SIZES):
            page[tag] = _values(file, layout, raw[start + 2 : start + tag_bytes])
    return page, layout.integer(raw[num_tags * tag_bytes :])


def _values(file: BinaryIO, layout: _Layout, field: bytes) -> np.ndarray:
    """Return the values of a tag from `field`: type, count, and the values or their offset."""
    count = layout.integer(field[2 : 2 + layout.offset_bytes])
    value_bytes = _BYTES_OF_TYPE.get(layout.integer(field[:2]), 1)
    raw = field[2 + layout.offset_bytes :]
    if count * value_bytes > layout.offset_bytes:
        raw = _read(file, layout.integer(raw), count * value_bytes)
    return layout.integers(raw[: count * value_bytes], value_bytes)


def _end_of_pixels(page: _Page) -> int:
    """Return the offset at which the last tile or strip of the page ends; 0 if not stated."""
    end = 0
    for offsets_tag, sizes_tag in _OFFSETS_AND_SIZES:
        if offsets_tag in page and sizes_tag in page:
            offsets, sizes = page[offsets_tag], page[sizes_tag]
            num = min(len(offsets), len(sizes))
            ends = (offsets[:num] + sizes[:num])[sizes[:num] > 0]
            end = max(end, int(ends.max(initial=0)))
    return end


def _read(file: BinaryIO, offset: int, num_bytes: int) -> bytes:
    """Return exactly `num_bytes` from `offset`.

    Raises:
        EOFError: the file ends too early.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    if offset + num_bytes > size_bytes:
        raise EOFError(f"a page lies beyond the {size_bytes:,} bytes of the file")
    file.seek(offset)
    return file.read(num_bytes)
