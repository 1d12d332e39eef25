"""What a sweep's trials are trained and measured on: recorded once, and compared by content.

The same data may lie elsewhere the next time: another mount, another machine, the folder that Ray
unpacks a job into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchtrain.errors import ConfigError, not_given
from patchtrain.files import atomic_path

_LISTED = 5


@dataclass(frozen=True)
class Inputs:
    """The images of a sweep, and what its networks start from."""

    data_hash: str | None
    """`ImageData.identity`."""
    images: Mapping[str, Sequence[str]]
    """image_id -> split, and hash of what image and target hold."""
    weights_hash: str | None
    """Hash of the file that backbones start from, if it is a file."""

    def write(self, path: Path) -> None:
        """Write the inputs as JSON, whole or not at all."""
        content = {
            "data_hash": self.data_hash,
            "weights_hash": self.weights_hash,
            "images": {name: list(what) for name, what in self.images.items()},
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content) + "\n")

    def check_same(self, path: Path, option: str) -> None:
        """Refuse inputs that differ from those in the file `path`; a sweep by an earlier version
        has no such file.

        Raises:
            ConfigError: they differ, or the file is damaged; names `option` and the first images.
        """
        if not path.exists():
            return
        earlier = read_inputs(path)
        if earlier.weights_hash != self.weights_hash:
            raise ConfigError(
                f"{option} {path.parent}: its trials start from other weights than this sweep; "
                f"give the same file, or leave {option} out"
            )
        if earlier.data_hash != self.data_hash:
            raise ConfigError(
                f"{option} {path.parent}: its trials are of other data than this sweep "
                f"({_differences(earlier.images, self.images)}), so they cannot be compared; give "
                f"the same data, or leave {option} out"
            )


def read_inputs(path: Path) -> Inputs:
    """Return the inputs in the file `path`.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        held: dict[str, Any] = json.loads(path.read_text())
        return Inputs(held["data_hash"], dict(held["images"]), held["weights_hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        damage = f"is damaged ({error}); restore it from a copy, or give another --out"
        raise ConfigError(f"{path}: {not_given(error) or damage}") from None


def _differences(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> str:
    """Return how two listings of images differ, in words."""
    both = before.keys() & now.keys()
    kinds = {
        "images are gone": before.keys() - now.keys(),
        "are new": now.keys() - before.keys(),
        "are in another split": {name for name in both if before[name][0] != now[name][0]},
        "have another content or label": {name for name in both if before[name][1] != now[name][1]},
    }
    return (
        "; ".join(
            f"{len(names)} {what}: {_first(sorted(names))}"
            for what, names in kinds.items()
            if names
        )
        or "other classes"
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
