"""The cache folder: sample data, results of image checks, estimates. All can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder, which need not exist.

    `$PATCHTRAIN_CACHE`, else `patchtrain` in `$XDG_CACHE_HOME`, else in `~/.cache`.
    """
    own = os.environ.get("PATCHTRAIN_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification says to ignore relative paths
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "patchtrain"
