"""`InputError`: the user gave something that cannot be used."""

from __future__ import annotations


def one_line(value: object, most: int = 160) -> str:
    """Return the text of `value` in one line of at most `most` characters."""
    line = " ".join(str(value).split())
    return line if len(line) <= most else line[: most - 1] + "…"


class InputError(Exception):
    """Bad input. One line that names the file or option, the rule and the remedy."""
