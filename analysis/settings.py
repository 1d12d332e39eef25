"""The settings of a trial in tables: their headings, their order, and which ones a method reads.

The only place in this package that names settings one by one. Knows nothing of runs, files, figures
or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from patchtrain import catalog
from patchtrain.record import METRIC_PREFIX

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
    "global_pass": "Global pass",
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
"""Follow from other settings, so asking for their importance says nothing."""

NOT_SETTINGS = frozenset(
    {
        "trial_id",
        "sweep",
        "group",
        "status",
        "task",
        "dataset",
        "data_is_sample",
        "data_dir",
        "budget",
        "budget_bytes",
        "patch_microbatch_used",
        "cap_level",
        "metric",
        "epochs",
        "epochs_done",
        "train_time_s",
        "images_per_s",
        "num_parameters",
        "num_train_images",
        "num_val_images",
        "num_skipped_images",
        "data_hash",
        "num_workers",
        "seed",
        "device",
        "error",
        "failed_by",
        "started_at",
        "finished_at",
        "versions",
        "on_front",
    }
)
"""Columns of trials.parquet that are results, or that the page shows in places of their own."""

NOT_SETTINGS_BEGIN = (METRIC_PREFIX, "peak_", "predicted_")
"""Columns that begin like this are results too."""


def is_setting(column: str) -> bool:
    """Return whether a column of trials.parquet is a setting, listed in `SETTINGS` or not."""
    if column in SETTINGS:
        return True
    return column not in NOT_SETTINGS and not column.startswith(NOT_SETTINGS_BEGIN)


def heading_of(name: str) -> str:
    """Return the heading of a setting, made from its name where `SETTINGS` does not list it."""
    if name == "budget_bytes":
        return "Budget"
    return SETTINGS.get(name) or name[:1].upper() + name[1:].replace("_", " ")


def is_used_by(method: str | None, name: str) -> bool:
    """Return whether a method reads the setting `name`; a method that is not ours reads all."""
    facts = catalog.known_method(method)
    source = "sampling_rate" if name == "num_sampled" else name
    return facts is None or source not in catalog.unread_settings(facts)


def input_of(method: str | None) -> str:
    """Return what a method pushes through the network: `patches`, `image` or `downsampled`."""
    facts = catalog.known_method(method)
    if facts is None or facts.samples_patches:
        return "patches"
    return "image" if facts.input_side == "image_size" else "downsampled"


def used_setting(trial: Mapping[str, Any], name: str) -> Any:
    """Return the setting `name` of `trial`; None where it is unknown or its method ignores it."""
    return trial[name] if is_used_by(trial["method"], name) else None


def describe(trial: Mapping[str, Any], further: Sequence[str] = ()) -> str:
    """Return the configuration of `trial` in one line, with the `further` settings it has."""
    texts = {**_DESCRIBED, **{name: f"{_braces(name)} {{value}}" for name in further}}
    parts = [
        _text(text, value).format(value=value, num_sampled=trial["num_sampled"])
        for name, text in texts.items()
        if (value := used_setting(trial, name)) is not None
    ]
    return ", ".join(parts)


def _text(text: str, value: Any) -> str:
    """Return the text with its noun in the singular for a value of 1."""
    return text.replace("iterations", "iteration") if value == 1 else text


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
