"""The memory timeline of a trial as a figure: what is held after each operation, and what for.

Knows nothing of how the timeline was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from patchtrain.memory.meter import CATEGORIES, TimelinePoint
from patchtrain.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_DRAWN_POINTS = 2000
_COLOURS = {  # Okabe-Ito: colour-blind readers can tell them apart
    "parameters": "#0072B2",
    "gradients": "#56B4E9",
    "optimizer": "#009E73",
    "activations": "#E69F00",
    "latent": "#CC79A7",
    "input": "#999999",
}


@dataclass(frozen=True)
class TimelineInfo:
    """What the figure shows: bytes held per category in each of P stretches of operations."""

    held_bytes: np.ndarray
    """[C, P], categories in the order of `CATEGORIES`, each stretch at its highest point."""
    phases: tuple[tuple[str, int, int], ...]
    """(phase, first stretch, one past the last), in order."""
    peak_bytes: int
    peak_index: int
    budget_bytes: int | None


def timeline_info(timeline: Sequence[TimelinePoint], budget_bytes: int | None) -> TimelineInfo:
    """Return the figure's content; of each stretch of a long timeline the highest point is kept.

    Raises:
        ValueError: the timeline is empty.
    """
    if not timeline:
        raise ValueError("the timeline is empty; record at least one batch")
    held = np.array([point.live_bytes for point in timeline], dtype=np.int64)
    totals = held.sum(axis=1)
    edges = np.unique(np.linspace(0, len(timeline), MAX_DRAWN_POINTS + 1).astype(int))
    highest = [start + int(totals[start:stop].argmax()) for start, stop in pairwise(edges)]
    names = [timeline[index].phase for index in highest]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    phases = tuple(
        (names[start], start, stop)
        for start, stop in zip(starts, [*starts[1:], len(names)], strict=True)
    )
    drawn = totals[highest]
    return TimelineInfo(
        held_bytes=held[highest].T,
        phases=phases,
        peak_bytes=int(drawn.max()),
        peak_index=int(drawn.argmax()),
        budget_bytes=budget_bytes,
    )


def draw_timeline(info: TimelineInfo, title: str, path: Path) -> None:
    """Write the figure as a PNG."""
    from matplotlib.figure import Figure

    unit_bytes, unit = (10**9, "GB") if info.peak_bytes >= 2 * 10**9 else (10**6, "MB")
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    x = np.arange(info.held_bytes.shape[1])
    axes.stackplot(
        x,
        info.held_bytes / unit_bytes,
        labels=CATEGORIES,
        colors=[_COLOURS[name] for name in CATEGORIES],
        linewidth=0,
    )
    top = info.peak_bytes / unit_bytes
    if info.budget_bytes is not None:
        top = _draw_budget(axes, info.budget_bytes, unit_bytes, x[-1], top)
    _mark_phases(axes, info, top)
    axes.plot(info.peak_index, info.peak_bytes / unit_bytes, "kv", markersize=6)
    axes.annotate(
        f"peak {format_bytes(info.peak_bytes)}",
        (info.peak_index, info.peak_bytes / unit_bytes),
        xytext=(6, 4),
        textcoords="offset points",
    )
    axes.set(
        xlim=(0, max(1, len(x) - 1)),
        ylim=(0, 1.2 * top),
        xlabel="operations of the first two training batches and the first validation batch",
        ylabel=f"memory held ({unit})",
        title=title,
    )
    axes.set_xticks([])
    axes.legend(loc="upper left", ncols=3, fontsize="small")
    figure.savefig(path, dpi=120, format="png")


def _draw_budget(axes: Axes, budget_bytes: int, unit_bytes: int, right: int, top: float) -> float:
    """Draw the budget as a line with its size at `right`; return the new top of the figure."""
    budget = budget_bytes / unit_bytes
    axes.axhline(budget, color="#D55E00", linestyle="--", linewidth=1.5)
    if budget <= 2 * top:
        top = max(top, budget)
        place, where = budget, "bottom"
    else:  # far above: say so instead of squeezing the curve
        place, where = 1.18 * top, "top"
    text = f"budget {format_bytes(budget_bytes)}"
    axes.text(right, place, text, ha="right", va=where, color="#D55E00")
    return top


def _mark_phases(axes: Axes, info: TimelineInfo, top: float) -> None:
    """Write the name of each phase under the curve, if there is room."""
    width = info.held_bytes.shape[1]
    for phase, start, stop in info.phases:
        axes.axvline(start, color="black", alpha=0.15, linewidth=0.5)
        if stop - start > 0.06 * width:
            axes.text(
                (start + stop) / 2,
                0.02 * top,
                phase.replace("_", "\n"),
                ha="center",
                va="bottom",
                fontsize="x-small",
            )
