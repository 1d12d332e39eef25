"""The settings that a sweep can vary, as `TrialConfig` and the catalog declare them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchtrain import catalog
from patchtrain.catalog import Range, Role, Values
from patchtrain.config import (
    DATA_PLACES,
    TrialConfig,
    earlier_settings,
    searched_settings,
    settings_of,
)
from patchtrain.settings import column_type

INPUTS = "inputs.json"
"""The file in a RUN_DIR that says what its trials are trained and measured on."""

_SEARCH = searched_settings()

ALWAYS_VARIED = tuple(name for name, search in _SEARCH.items() if search.always)
"""Settings that are varied unless they are fixed; not every method reads all of them."""

SEARCHABLE = (*ALWAYS_VARIED, *(name for name in _SEARCH if name not in ALWAYS_VARIED))
"""Every setting that a sweep can vary."""


def role(name: str) -> Role:
    """Return the role of the setting `name` where it is varied."""
    return _SEARCH[name].role


def default_values(name: str, task: str) -> Values | None:
    """Return the values of the setting `name` unless the user gives others; None: it has none."""
    return catalog.task(task).search.get(name, _SEARCH[name].values)


def number_type(name: str) -> type[int] | type[float] | None:
    """Return the type of the numbers in a range of the setting `name`; None: it takes no range."""
    if not isinstance(_SEARCH[name].values, Range):
        return None
    return int if column_type(TrialConfig, name) == "int" else float


def ignored_by(method: str) -> frozenset[str]:
    """Return the settings that make no difference to `method`.

    Raises:
        ConfigError: the method is unknown.
    """
    return catalog.unread_settings(catalog.method(method))


def without_places(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier sweep with today's places of data and weights, where both
    sweeps name some: what lies there is compared instead.
    """
    moved = {
        name: wanted[name]
        for name in (*DATA_PLACES, "weights")
        if _is_place(name, held.get(name)) and _is_place(name, wanted.get(name))
    }
    return {**held, **moved}


def _is_place(name: str, value: Any) -> bool:
    return value is not None and not (name == "weights" and value in ("none", "pretrained"))


def with_newer_settings(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier sweep as they would be written today, with those that did
    not exist then.

    Args:
        held: settings in the sweep's `sweep.json`.
        wanted: settings of today's sweep, whose names are filled in.
    """
    defaults = settings_of({"dataset": held.get("dataset", TrialConfig.dataset)})
    defaults |= earlier_settings()
    newer = {
        name: defaults.get(name, getattr(TrialConfig, name)) for name in wanted if name not in held
    }
    return {**newer, **held}
