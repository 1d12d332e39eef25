"""`Unfinished`: the sweep cannot go on, or came to its end without what it was to find."""

from __future__ import annotations


class Unfinished(Exception):
    """A line for the user: why, and what to do. All results are kept."""
