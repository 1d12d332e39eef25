"""Turns figures into bytes and writes folders of files. Knows nothing of what they show."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from analysis.errors import InputError
from patchtrain.files import atomic_path


def figure_bytes(figure: Figure, file_format: str) -> bytes:
    """Return a figure as `png` or `svg`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # without a date and with a fixed salt for ids
    metadata = {"Date": None} if file_format == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "analysis"}):
        figure.savefig(buffer, format=file_format, metadata=metadata)
    return buffer.getvalue()


def write_files(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write file name -> content into `out`, each file whole or not at all.

    Raises:
        InputError: `out` cannot be written.
    """
    try:
        for name, content in contents.items():
            with atomic_path(out / name) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise InputError(
            f"--out={out}: cannot be written ({error.strerror or error}); give a folder that can"
        ) from None
