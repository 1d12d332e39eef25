"""What all command lines share: errors of one line, and no empty arguments."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from patchtrain.errors import ConfigError

_OPTION = re.compile(r"--([A-Za-z][A-Za-z0-9_-]*)(?:=|\s+)?(\S*)")


class Parser(argparse.ArgumentParser):
    """Raises `ConfigError` for wrong arguments; `--help` and `--version` exit."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse does it, but refuse empty arguments, which unset variables leave behind."""
        given = list(sys.argv[1:] if args is None else args)
        for place, argument in enumerate(given):
            name, separator, value = argument.partition("=")
            if not argument.strip() or (name.startswith("--") and separator and not value.strip()):
                after = f" after {given[place - 1]}" if place and not argument.strip() else ""
                raise ConfigError(
                    f"the argument {argument!r}{after} is empty; give a value, or leave the option "
                    f"out for its default; see {self.prog} --help"
                )
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `ConfigError`."""
        raise ConfigError(f"{message}{_setting_meant(message)}; see {self.prog} --help")


def _setting_meant(message: str) -> str:
    """Return how to write an unknown option that is a setting of a trial."""
    found = _OPTION.search(message)
    if not message.startswith("unrecognized arguments") or found is None:
        return ""
    from patchtrain.config import TrialConfig

    name, value = found[1].replace("-", "_"), found[2] or "VALUE"
    if name not in TrialConfig.__dataclass_fields__:
        return ""
    return f" ({name} is a setting of a trial: --set {name}={value})"
