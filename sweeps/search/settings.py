"""The settings that a sweep can vary, as `TrialConfig` and the catalog declare them."""

from __future__ import annotations

from patchtrain import catalog
from patchtrain.catalog import Range, Role, Values
from patchtrain.config import TrialConfig, searched_settings
from patchtrain.settings import column_type

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
