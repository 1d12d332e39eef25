"""The folder for what can be made again: sample data, results of image checks, estimates."""

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
    # the XDG rules tell to ignore relative paths
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "patchtrain"
