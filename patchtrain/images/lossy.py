"""Tells whether WebP and JPEG 2000 data lose detail, which their file kinds leave open."""

from __future__ import annotations

_CODESTREAM, _COD = b"\xff\x4f\xff\x51", b"\xff\x52"


def is_lossy(head: bytes) -> bool:
    """Return whether a file or TIFF chunk with this start is lossy WebP or JPEG 2000."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _has_lossy_frame(head)
    codestream = head.find(_CODESTREAM)
    style = head.find(_COD, codestream)
    if codestream < 0 or style < 0:
        return False
    return head[style + 13 : style + 14] == b"\x00"  # the 9-7 wavelet; 5-3 is exact


def _has_lossy_frame(webp: bytes) -> bool:
    """Return whether the first frame of a WebP is `VP8 `, not `VP8L`."""
    at = 12
    while at + 8 <= len(webp):
        kind, size = webp[at : at + 4], int.from_bytes(webp[at + 4 : at + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        # frames of an animation lie within their chunk
        at += 24 if kind == b"ANMF" else 8 + size + size % 2
    return False
