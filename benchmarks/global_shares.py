"""Draws what the global patch did to training, epoch by epoch: its share of the backbone's gradient
and its size beside the latent block's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from measured_trials import Rows

_SVG: Any = {"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "global_shares"}
_COLOURS = ("#1f5fa8", "#c2570c", "#2b8a3e", "#8a3fa0", "#7a5c00", "#00788a")
_PANELS: Mapping[str, tuple[str, float]] = {
    "global_gradient_share": ("share of the backbone's gradient, %", 100.0),
    "global_size": ("size of g over that of Z", 1.0),
}


def draw_shares(epochs: Rows, form_of: Callable[[Mapping[str, Any]], str], path: Path) -> None:
    """Write the SVG file `path`: for each form the mean over its trials, and their range.

    Nothing is written if no epoch has measured anything.

    Args:
        epochs: rows of `NAME_epochs.parquet`.
        form_of: returns the form of an epoch's trial.
    """
    by_form: dict[str, Rows] = defaultdict(list)
    for row in epochs:
        if row["global_size"] is not None:
            by_form[form_of(row)].append(row)
    if not by_form:
        return
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=(11, 4), layout="constrained")
        panels = figure.subplots(1, len(_PANELS))
        for axes, (measure, (label, factor)) in zip(panels, _PANELS.items(), strict=True):
            for place, (form, rows) in enumerate(sorted(by_form.items())):
                numbers, found = _by_epoch(rows, measure)
                colour = _COLOURS[place % len(_COLOURS)]
                style = "--" if form.startswith("filled") else "-"
                means, lows, highs = (
                    [factor * float(reduce(values)) for values in found]
                    for reduce in (np.mean, np.min, np.max)
                )
                axes.fill_between(numbers, lows, highs, color=colour, alpha=0.12, linewidth=0)
                axes.plot(numbers, means, style, color=colour, linewidth=2, label=form)
            axes.set_title(label, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", color="#e4e7eb")
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _by_epoch(rows: Rows, measure: str) -> tuple[list[int], list[Sequence[float]]]:
    """Return the epochs and, for each, what the trials measured."""
    found: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row[measure] is not None:
            found[row["epoch"]].append(row[measure])
    numbers = sorted(found)
    return numbers, [found[number] for number in numbers]
