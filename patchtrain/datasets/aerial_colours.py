"""The colours that stand for classes in the masks of the aerial tiles, as published."""

from __future__ import annotations

from collections.abc import Mapping

AERIAL_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "building": (0x3C, 0x10, 0x98),
    "land": (0x84, 0x29, 0xF6),
    "road": (0x6E, 0xC1, 0xE4),
    "vegetation": (0xFE, 0xDD, 0x3A),
    "water": (0xE2, 0xA9, 0x29),
    "unlabeled": (0x9B, 0x9B, 0x9B),
}
"""Class -> red, green, blue. `classes.json`, which comes with the tiles, gives wrong colours."""
