"""What holds the memory of a trial at its peak, and which setting lowers it.

Knows nothing of files or of drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.load import RUN, Run, rows_of
from analysis.selection import best_per_budget, is_on_front

PARTS: Mapping[str, str] = {
    "parameters": "peak_parameters_bytes",
    "gradients": "peak_gradients_bytes",
    "optimizer": "peak_optimizer_bytes",
    "activations": "peak_activations_bytes",
    "latent block": "peak_latent_bytes",
    "input": "peak_input_bytes",
}
"""Part of the peak -> its column. Where the meter ran they add up to `peak_allocated_bytes`."""

REST = "other"
"""What is in the peak but in none of the parts, such as libraries' workspace."""

MOST_TRIALS = 12

_ADVICE: Mapping[str, str] = {
    "parameters": "a smaller backbone",
    "gradients": "a smaller backbone",
    "optimizer": "a smaller backbone",
    "latent block": "a larger patch_size or a smaller image_size",
    "input": "a smaller batch_size",
    REST: "a smaller patch_microbatch",
}
_ADVICE_OF_ACTIVATIONS: Mapping[str, str] = {
    "patches": "patch_microbatch: auto, a lower sampling_rate, a smaller patch_size or bf16",
    "image": "a patch method, a smaller image_size or bf16",
    "downsampled": "a smaller patch_size, a smaller batch_size or bf16",
}


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What one trial's peak consisted of."""

    run: str
    trial_id: str
    metric: float
    peak_bytes: int
    phase: str | None
    """The part of the step in which the peak was reached."""
    parts_bytes: Mapping[str, int]
    """By the names of `PARTS` and `REST`; they add up to `peak_bytes`."""
    advice: str
    """The largest part and what lowers it."""


def attributions(run: Run) -> tuple[Attribution, ...]:
    """Return what holds the memory of the front's trials, smallest peak first.

    At most `MOST_TRIALS`: those that are best in a budget, and others evenly along the front.
    Trials without a recorded breakdown are left out.
    """
    front = run.trials[is_on_front(run.trials)].sort_values(["peak_allocated_bytes", "trial_id"])
    rows = [row for row in rows_of(front) if all(row[name] is not None for name in PARTS.values())]
    best = {(a.trial[RUN], a.trial["trial_id"]) for a in best_per_budget(run) if a.trial}
    return tuple(_attribution(row) for row in _thinned(rows, best))


def _thinned(rows: list[dict[str, Any]], best: set[tuple[str, str]]) -> list[dict[str, Any]]:
    if len(rows) <= MOST_TRIALS:
        return rows
    keep = [i for i, row in enumerate(rows) if (row[RUN], row["trial_id"]) in best][:MOST_TRIALS]
    for index in np.linspace(0, len(rows) - 1, MOST_TRIALS).round().astype(int).tolist():
        if len(keep) < MOST_TRIALS and index not in keep:
            keep.append(index)
    return [rows[index] for index in sorted(keep)]


def _attribution(row: Mapping[str, Any]) -> Attribution:
    parts = {name: int(row[column]) for name, column in PARTS.items()}
    parts[REST] = max(0, int(row["peak_allocated_bytes"]) - sum(parts.values()))
    return Attribution(
        run=row[RUN],
        trial_id=row["trial_id"],
        metric=row["metric"],
        peak_bytes=int(row["peak_allocated_bytes"]),
        phase=row["peak_phase"],
        parts_bytes=parts,
        advice=_advice(row["method"], parts),
    )


def _advice(method: str | None, parts: Mapping[str, int]) -> str:
    largest = max(parts, key=lambda name: parts[name])
    share = parts[largest] / max(1, sum(parts.values()))
    lower = _ADVICE.get(largest)
    if lower is None:
        kind = {"full": "image", "checkpointed": "image", "downsampled": "downsampled"}
        lower = _ADVICE_OF_ACTIVATIONS[kind.get(method or "", "patches")]
    return f"{largest} {share:.0%}: {lower}"
