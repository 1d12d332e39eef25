"""Whether the sweep in a folder is the one that a command asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchtrain.errors import ConfigError, not_given
from sweeps.search.settings import INPUTS, with_newer_settings, without_places

IDENTITY = ("sweep", "budgets_bytes", "space", "settings")
"""Keys of `sweep.json` that must not change when a sweep is resumed, but for budgets added."""


def check_same(path: Path, description: Mapping[str, Any]) -> None:
    """Check that the sweep in the file `path` is the one of `description`.

    Raises:
        ConfigError: names what differs, or says that the file is damaged.
    """
    try:
        held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        damage = f"is damaged ({error}); give another --out"
        raise ConfigError(f"{path}: {not_given(error) or damage}") from None
    wanted = json.loads(json.dumps(dict(description)))
    if isinstance(held.get("settings"), dict):
        held["settings"] = with_newer_settings(held["settings"], wanted["settings"])
        if (path.parent / INPUTS).exists():
            held["settings"] = without_places(held["settings"], wanted["settings"])
    for key in IDENTITY:
        if key == "budgets_bytes" and set(held.get(key, ())) <= set(wanted.get(key, ())):
            continue  # budgets may be added
        for name, before, now in _differences(key, held.get(key), wanted.get(key)):
            raise ConfigError(
                f"--resume: the sweep in {path.parent} has {name}={json.dumps(before)}, "
                f"this command {json.dumps(now)}; give the same value, or another --out"
            )


def _differences(name: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Return the innermost named values in which two JSON values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted({*before, *now})
            for difference in _differences(f"{name}.{key}", before.get(key), now.get(key))
        ]
    return [] if before == now else [(name, before, now)]
