"""`NodeWatch`: ends a sweep that waits for room on nodes that are gone for good.

Tune waits for ever for resources, and a trial whose last suitable node died would never run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune import Callback

from sweeps.errors import Unfinished

PATIENCE_S = 45.0
"""How long no node may have room for any trial: a node that only restarts is back by then."""

PATIENCE_TO_GROW_S = 900.0
"""The same for a cluster that starts nodes of its own: a machine is rented and set up first."""

_LOOK_EVERY_S = 5.0


class NodeWatch(Callback):
    """Looks whether any node could run a trial.

    Args:
        needed: what a trial reserves, for each budget; a node must have one of these.
        nodes: returns the nodes as `ray.nodes` does.
        patience_s: how long no node may have room.
        clock: gives the time in seconds.

    Attributes:
        unfinished: why the sweep was stopped; Tune makes the text of a traceback of it.
    """

    def __init__(
        self,
        needed: Sequence[Mapping[str, float]],
        nodes: Callable[[], Sequence[Mapping[str, Any]]],
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished: Unfinished | None = None
        self._needed = needed
        self._nodes = nodes
        self._patience_s = patience_s
        self._clock = clock
        self._looked_at = clock()
        self._had_room_at = clock()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for the copy that Tune writes and nobody reads."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the nodes now and then.

        Raises:
            Unfinished: no node could have run any trial for too long.
        """
        now = self._clock()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        alive = [node["Resources"] for node in self._nodes() if node["Alive"]]
        if any(_holds(resources, needed) for resources in alive for needed in self._needed):
            self._had_room_at = now
        elif now - self._had_room_at >= self._patience_s:
            num = len(alive) or "no"
            found = f"{num} node{'s are' if len(alive) > 1 else ' is'} alive"
            self.unfinished = Unfinished(
                f"no trial can run any more: {found}, and none has what a trial reserves "
                f"({_text(self._needed[0])}); start nodes again, then go on"
            )
            raise self.unfinished


def _holds(resources: Mapping[str, float], needed: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0.0) >= amount for name, amount in needed.items())


def _text(needed: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in needed.items())
