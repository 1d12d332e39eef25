"""What is odd about images that can be read: blank ones, one image under two names, and images that
come out nearly black because they do not use the range of their numbers.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from patchtrain.datasets.example import Example, Fitted
from patchtrain.errors import some_of
from patchtrain.images import ValuesSeen, place_in_square

_log = logging.getLogger(__name__)

_FLAT = 16
"""An image whose colours differ by at most this is blank: scanners and codecs add some noise."""

_PROBED_PX = 512
"""Rows and columns of an image that are looked at to see whether it is blank."""

_DARK = 4
"""Images whose largest number is below this part of white come out nearly black."""

Looks = Mapping[str, "Look"]
"""image_id -> what the image looks like."""


class Look(NamedTuple):
    """What was noticed when an image was decoded."""

    digest: str
    """Hash of its pixels."""
    is_blank: bool
    values: ValuesSeen | None
    """Its numbers, if they have more than 8 bits."""

    @classmethod
    def of(cls, fitted: Fitted, values: ValuesSeen | None) -> Look:
        """Return what the decoded image looks like."""
        digest = hashlib.sha256(fitted.image.tobytes()).hexdigest()[:32]
        place = place_in_square(fitted.height, fitted.width, len(fitted.image))
        step = max(1, len(fitted.image) // _PROBED_PX)
        probed = fitted.image[
            place.top : place.top + place.height : step,
            place.left : place.left + place.width : step,
        ]
        spread = int((probed.max(axis=(0, 1)).astype(int) - probed.min(axis=(0, 1))).max())
        if values is not None and values.high > 0:  # a dark image is not a blank one
            spread = max(spread, 255 * (values.high - values.low) // values.high)
        return cls(digest, spread <= _FLAT, values)

    @classmethod
    def from_json(cls, saved: Any) -> Look:
        """Return the look that was written as JSON."""
        digest, is_blank, values = saved
        return cls(str(digest), bool(is_blank), values and ValuesSeen(*map(int, values)))


def copies(looks: Looks) -> list[tuple[str, ...]]:
    """Return the groups of images with the same pixels, each sorted; blank ones are left out."""
    groups: dict[str, list[str]] = defaultdict(list)
    for image_id in sorted(looks):
        if not looks[image_id].is_blank:
            groups[looks[image_id].digest].append(image_id)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def warn_of_values(data_dir: Path, looks: Looks) -> None:
    """Warn if all images of more than 8 bits are nearly black, with the values that were found."""
    found = [look.values for look in looks.values() if look.values is not None]
    if not found:
        return
    low, high, white = min(v.low for v in found), max(v.high for v in found), found[0].white
    if 0 < high < white / _DARK:
        _log.warning(
            "%s: %d images of more than 8 bits hold values from %d to %d, where %d is white, so "
            "they come out nearly black; set value_range=0:%d",
            *(data_dir, len(found), low, high, white, high),
        )


def warn_of_blanks(data_dir: Path, looks: Looks) -> None:
    """Warn of images that have one colour only."""
    blank = sorted(image_id for image_id, look in looks.items() if look.is_blank)
    if blank:
        _log.warning(
            "%s: %d of %d images are blank, of one colour only: %s; take them out unless they "
            "belong there",
            *(data_dir, len(blank), len(looks), some_of(blank)),
        )


def warn_of_copies(
    data_dir: Path,
    groups: Sequence[tuple[str, ...]],
    examples: Mapping[str, Example],
    assignment: Mapping[str, str],
) -> None:
    """Warn of images with the same pixels; of those in several splits or classes in particular.

    Args:
        data_dir: for the message.
        groups: image_ids with the same pixels.
        examples: image_id -> example.
        assignment: image_id -> split.
    """
    if not groups:
        return
    split = [group for group in groups if len({assignment[name] for name in group}) > 1]
    classes = [group for group in groups if len({examples[name].stratum for name in group}) > 1]
    notes = [
        f"; {what}: {some_of([' = '.join(group) for group in some])}"
        for what, some in (("in several splits", split), ("with different labels", classes))
        if some
    ]
    _log.warning(
        "%s: %d images have the pixels of another one: %s%s; drop_duplicates=true keeps one of "
        "each",
        *(data_dir, sum(map(len, groups)) - len(groups)),
        *(some_of([" = ".join(group) for group in groups]), "".join(notes)),
    )
