"""What goes wrong by the user's hand."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used. One line: the file or option, the rule and the remedy."""
