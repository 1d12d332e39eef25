"""The cache folder: sample data, results of image checks, estimates. All can be made again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder, which need not exist.

    `$PATCHTRAIN_CACHE`, else `patchtrain` in `$XDG_CACHE_HOME`, else in `~/.cache`; where there is
    no home folder to write to, as in some containers, one of this user in the temporary folder.
    """
    own = os.environ.get("PATCHTRAIN_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification says to ignore relative paths
    if Path(base).is_absolute():
        return Path(base) / "patchtrain"
    home = _home()
    if home is None:
        return Path(tempfile.gettempdir()) / f"patchtrain-{os.getuid()}"
    return home / ".cache" / "patchtrain"


def _home() -> Path | None:
    """Return the user's home folder; None if it is not there or cannot be written."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in the list of users
        return None
    return home if home.is_dir() and os.access(home, os.W_OK | os.X_OK) else None
