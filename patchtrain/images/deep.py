"""PNG and JPEG 2000 of more than 8 bits a sample, decoded whole; Pillow cuts colours to 8."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and of its SIZ segment."""


class DeepKind(NamedTuple):
    """How a picture of more than 8 bits is stored."""

    bits: int
    num_samples: int
    is_png: bool


def deep_kind(head: bytes) -> DeepKind | None:
    """Return how the picture with this start is stored; None unless it is a PNG or JPEG 2000 with
    more than 8 bits a sample, all samples alike and unsigned.
    """
    if head.startswith(_PNG):
        bits, colour_type = head[24], head[25]
        samples = {0: 1, 2: 3, 4: 2, 6: 4}.get(colour_type)
        has_key = b"tRNS" in head  # a transparent colour, which only Pillow applies
        return DeepKind(bits, samples, True) if bits > 8 and samples and not has_key else None
    at = head.find(_SIZ)
    if at < 0:
        return None
    num_samples = int.from_bytes(head[at + 40 : at + 42], "big")
    depths = set(head[at + 42 : at + 42 + 3 * num_samples : 3])
    if len(depths) != 1:
        return None
    (depth,) = depths
    bits = (depth & 0x7F) + 1
    is_signed = depth >= 0x80
    return DeepKind(bits, num_samples, False) if 8 < bits <= 16 and not is_signed else None


def decode_deep(path: Path, kind: DeepKind) -> np.ndarray:
    """Return the samples as stored, [height, width, samples]."""
    import imagecodecs

    decode = imagecodecs.png_decode if kind.is_png else imagecodecs.jpeg2k_decode
    samples = np.asarray(decode(path.read_bytes()))
    return samples.reshape(*samples.shape[:2], -1)
