"""`Watchdog`: looks at a process's memory from a thread of its own and keeps the highest it saw.

It raises no error and stops nothing; its owner asks what it saw. Knows nothing of CUDA, of how
memory is measured, or of what happens when it is too much.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 0.05
"""Time between two looks."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What one look saw."""

    process_bytes: int
    """All that the process held."""
    outside_bytes: int | None
    """The part that torch's allocator does not hold; None if that changed during the look."""
    phase: str
    """What the process was doing."""


class Watchdog:
    """Looks every `interval_s` between `start` and `stop`.

    Args:
        look: returns what is held now; any error that it raises ends the watch for good, silently.
        limit_bytes: more than this is kept in `over`; None keeps nothing.

    Attributes:
        highest: the sighting with the most memory since `start_peak`; None before the first.
        latest: the last sighting.
        over: the sighting with the most memory above the limit; `start_peak` keeps it, the owner
            may take it back.
        outside_bytes: the highest that two looks in a row saw, so that memory that is just being
            given back does not count; None before the second look.
        failed: whether an error ended the watch.
    """

    def __init__(
        self,
        look: Callable[[], Sighting],
        *,
        limit_bytes: int | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.highest: Sighting | None = None
        self.latest: Sighting | None = None
        self.over: Sighting | None = None
        self.outside_bytes: int | None = None
        self.failed = False
        self._last_outside_bytes: int | None = None
        self._look = look
        self._limit_bytes = limit_bytes
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look once, then go on looking in a thread until `stop`."""
        if self._thread is not None:
            return
        self.look()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name="memory watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and look a last time; does nothing if none runs."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        self.look()

    def start_peak(self) -> None:
        """Start a new highest from what is held now."""
        with self._lock:
            self.highest = None
        self.look()

    def look(self) -> None:
        """Look once, now."""
        with self._lock:
            if self.failed:
                return
            try:
                seen = self._look()
            except Exception:
                self.failed = True
                return
            self._keep(seen)

    def _watch(self) -> None:
        while not self.failed and not self._stopping.wait(self._interval_s):
            self.look()

    def _keep(self, seen: Sighting) -> None:
        self.latest = seen
        if _is_higher(seen, self.highest):
            self.highest = seen
        if (
            self._limit_bytes is not None
            and seen.process_bytes > self._limit_bytes
            and _is_higher(seen, self.over)
        ):
            self.over = seen
        if seen.outside_bytes is not None:
            if self._last_outside_bytes is not None:
                lasting_bytes = min(seen.outside_bytes, self._last_outside_bytes)
                self.outside_bytes = max(lasting_bytes, self.outside_bytes or 0)
            self._last_outside_bytes = seen.outside_bytes


def _is_higher(seen: Sighting, kept: Sighting | None) -> bool:
    return kept is None or seen.process_bytes > kept.process_bytes
