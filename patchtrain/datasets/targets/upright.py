"""Images whose targets have a place, masks and boxes, must not be turned by viewers."""

from __future__ import annotations

from patchtrain.errors import DataError
from patchtrain.images import UPRIGHT, ImageSource


def check_upright(source: ImageSource) -> None:
    """Raise DataError if viewers turn or mirror the picture: a mask or boxes may then not match."""
    if source.orientation != UPRIGHT:
        raise DataError(
            f"{source.path}: has the orientation tag {source.orientation}, so viewers turn or "
            "mirror it, and what was marked in it may lie on other pixels; save it upright and "
            "without the tag, and check that its mask or boxes match"
        )
