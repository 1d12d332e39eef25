"""Which pages of a TIFF are its image: the full resolution and smaller levels of it.

A TIFF may hold more: thumbnails, a photograph of the label, masks, other images, or a description
of images in other files (OME). Only pages of the file itself are looked at. If it is not certain
which image is meant, the file is refused.

`page` is a TiffPage of tifffile, which carries no types.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from patchtrain.errors import DataError
from patchtrain.images.source import a_stack

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType (TIFF 6.0, tag 254). 9, a further bit, marks macros of slides."""

_BESIDE = re.compile(r"\b(label|macro|overview|thumbnail)\b", re.IGNORECASE)
"""Names of what scanners store beside the image."""

_MAX_SUB_PAGES = 64

_LISTED = 4


def levels_of(path: Path, file: Any) -> list[Any]:
    """Return the pages of the image in `file`, an open TiffFile: full resolution first, then the
    smaller levels, largest first.

    Raises:
        DataError: the file holds several images, and none of them is marked as the one meant.
    """
    if file.is_svs or file.is_scn or file.is_philips or file.is_bif or file.is_ndpi:
        return [level.keyframe for level in file.series[0].levels]
    pages = list(file.pages)
    full = _image(path, file, pages)
    around = [*_sub_pages(full), *(page for page in pages if page.subfiletype == _REDUCED)]
    smaller = [page for page in around if _is_level(page, full)]
    return [full, *sorted(smaller, key=lambda page: -page.imagewidth)]


def _image(path: Path, file: Any, pages: list[Any]) -> Any:
    """Return the page that holds the image at full resolution."""
    # some cameras store the image below its thumbnail
    below = [sub for page in pages if page.subfiletype & _REDUCED for sub in _sub_pages(page)]
    found = [page for page in (*pages, *below) if not page.subfiletype & (_REDUCED | _MASK)]
    if not found:
        found = [page for page in pages if not page.subfiletype & _MASK] or pages
    if len(found) > 1:
        names = _names(path, file)
        found = [page for page in found if not _is_beside(page, names)] or found
    if len(found) > 1:
        raise _ambiguous(path, found)
    (page,) = found
    count = _pixels_behind(file) // max(1, page.size)
    if count > 1:
        raise a_stack(path, count)
    return page


def _sub_pages(page: Any) -> list[Any]:
    """Return the pages that `page` points to (SubIFDs)."""
    if not page.subifds:
        return []
    return list(page.pages)[:_MAX_SUB_PAGES]


def _is_level(page: Any, full: Any) -> bool:
    """Return whether `page` can be the image `full` made smaller."""
    if not 0 < page.imagewidth < full.imagewidth or page.subfiletype & ~_REDUCED:
        return False
    kinds = ((p.photometric, p.samplesperpixel, p.bitspersample, p.dtype) for p in (page, full))
    if len(set(kinds)) > 1:
        return False
    # sides are rounded at each halving, so by up to 1 px
    scale = full.imagewidth / page.imagewidth
    return abs(full.imagelength - page.imagelength * scale) <= 2 * scale


def _is_beside(page: Any, names: dict[int, str]) -> bool:
    """Return whether a page is what scanners store beside the image, by its name."""
    name = names.get(page.index)
    if name is None:
        description = page.description
        name = "" if description.lstrip().startswith("<") else description[:200]
    return bool(_BESIDE.search(name))


def _names(path: Path, file: Any) -> dict[int, str]:
    """Return number of a page of this file -> name of its image, as OME-XML gives it."""
    if not file.is_ome:
        return {}
    try:
        root = ElementTree.fromstring(file.pages[0].description)
    except ElementTree.ParseError:
        return {}
    names: dict[int, str] = {}
    for image in root.iterfind("{*}Image"):
        for place in image.iterfind("{*}Pixels/{*}TiffData"):
            other = place.find("{*}UUID")
            if other is not None and _is_elsewhere(other, path, root.get("UUID")):
                continue
            first = place.get("IFD", "0")
            if first.isdecimal():
                names.setdefault(int(first), image.get("Name", ""))
    return names


def _is_elsewhere(uuid: ElementTree.Element, path: Path, own: str | None) -> bool:
    """Return whether a piece of OME-XML with this UUID is about another file."""
    if own is not None and uuid.text:
        return uuid.text.strip() != own
    return uuid.get("FileName", path.name) != path.name


def _pixels_behind(file: Any) -> int:
    """Return the samples of the first image where one page describes many (ImageJ and others)."""
    if len(file.pages) > 1 or file.is_ome:
        return 0
    return int(file.series[0].size)


def _ambiguous(path: Path, pages: list[Any]) -> DataError:
    sizes = [(page.imagelength, page.imagewidth) for page in pages]
    if len(set(sizes)) == 1:
        return a_stack(path, len(pages))
    listed = ", ".join(
        f"page {page.index} of {height} x {width} px"
        for page, (height, width) in zip(pages[:_LISTED], sizes, strict=False)
    )
    more = ", ..." if len(pages) > _LISTED else ""
    return DataError(
        f"{path}: holds {len(pages)} images ({listed}{more}), and nothing says which is meant; "
        "save it as a file of its own, or mark smaller versions of it as such (NewSubfileType 1)"
    )
