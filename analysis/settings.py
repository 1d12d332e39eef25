"""The settings of a trial: their headings, which were varied, which its method reads.

Knows nothing of files, figures or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.load import Run

PATCH_SETTINGS = ("sampling_rate", "num_sampled", "inner_iterations")

UNUSED_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "patchgd": ("fusion",),
    "tiled": ("fusion",),
    "downsampled": (*PATCH_SETTINGS, "fusion"),
    "full": ("patch_size", *PATCH_SETTINGS, "fusion"),
    "checkpointed": ("patch_size", *PATCH_SETTINGS, "fusion"),
}
"""Settings that a method records but does not read; a report that showed them would mislead."""

SETTINGS: Mapping[str, str] = {
    "method": "Method",
    "backbone": "Backbone",
    "encoder": "Encoder",
    "aggregator": "Aggregator",
    "layout": "Layout",
    "image_size": "Image px",
    "patch_size": "Patch px",
    "sampling_rate": "Sampling rate",
    "num_sampled": "Sampled patches",
    "inner_iterations": "Inner iter.",
    "fusion": "Fusion",
    "norm": "Norm",
    "precision": "Precision",
    "batch_size": "Batch",
    "accumulation_steps": "Accumulation",
    "learning_rate": "Learning rate",
    "patch_microbatch": "Microbatch",
}
"""Column of a setting -> heading, in the order of tables."""

ALWAYS_SHOWN = (
    "method",
    "backbone",
    "image_size",
    "patch_size",
    "sampling_rate",
    "num_sampled",
    "inner_iterations",
    "fusion",
)
"""Settings that tables show even where all trials share one value."""

MISSION = ("patch_size", "sampling_rate", "inner_iterations", "fusion")
"""The four settings that the project is about."""

DERIVED = ("num_sampled",)
"""Follow from other settings, so no importance is asked of them."""


def shown_settings(run: Run) -> dict[str, str]:
    """Return column -> heading of the settings that a table of the trials shows."""
    trials = run.trials
    shown = {
        name: heading
        for name, heading in SETTINGS.items()
        if name in ALWAYS_SHOWN or trials[name].nunique() > 1
    }
    return shown | {name: name for name in foreign_settings(run)}


def varied_settings(run: Run) -> tuple[str, ...]:
    """Return the settings in which trials differ, budget included."""
    names = [*SETTINGS, "budget_bytes", *foreign_settings(run)]
    return tuple(
        name for name in names if name not in DERIVED and run.trials[name].nunique(dropna=True) > 1
    )


def foreign_settings(run: Run) -> tuple[str, ...]:
    """Return the searched settings that this project's trials do not have, as others' sweeps do."""
    searched = (name for sweep in run.sweeps.values() for name in sweep.varied)
    known = {*SETTINGS, "budget_bytes"}
    return tuple(
        name for name in dict.fromkeys(searched) if name not in known and name in run.trials
    )


def heading_of(name: str) -> str:
    """Return the heading of a setting."""
    return "Budget" if name == "budget_bytes" else SETTINGS.get(name, name)


def is_text(column: pd.Series) -> bool:
    """Return whether a column holds names, not numbers."""
    return not pd.api.types.is_numeric_dtype(column)


def used_setting(trial: Mapping[str, Any], name: str) -> Any:
    """Return the setting `name` of `trial`; None where it is unknown or its method ignores it."""
    return None if name in UNUSED_SETTINGS.get(trial["method"], ()) else trial[name]


def describe(trial: Mapping[str, Any], foreign: Sequence[str] = ()) -> str:
    """Return the configuration of `trial` in one line, with its `foreign` settings."""
    texts = {**_DESCRIBED, **{name: f"{_braces(name)} {{value}}" for name in foreign}}
    parts = [
        text.format(value=value, num_sampled=trial["num_sampled"])
        for name, text in texts.items()
        if (value := used_setting(trial, name)) is not None
    ]
    return ", ".join(parts)


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


_DESCRIBED = {
    "method": "{value}",
    "backbone": "{value}",
    "encoder": "encoder {value}",
    "image_size": "image {value} px",
    "patch_size": "patch {value} px",
    "sampling_rate": "sampling {value:.4g} (k {num_sampled})",
    "inner_iterations": "{value} inner iterations",
    "fusion": "fusion {value}",
}
