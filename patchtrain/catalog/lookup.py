"""From a name to its facts and its class: one of ours, or the user's own `package.module:Name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchtrain.catalog.datasets import DATASETS
from patchtrain.catalog.facts import Config, DatasetFacts, MethodFacts, TaskFacts
from patchtrain.catalog.methods import METHODS
from patchtrain.catalog.tasks import HEADS, TASKS
from patchtrain.errors import ConfigError
from patchtrain.extension import FORM, is_named, load_named


def is_own(name: object) -> bool:
    """Whether `name` stands for a class of the user's own, not for one of ours."""
    return isinstance(name, str) and is_named(name)


def method(name: str) -> MethodFacts:
    """Return the facts of the method `name`.

    Raises:
        ConfigError: unknown, or a user's class that cannot be imported or has no facts.
    """
    return _facts("method", name, MethodFacts)


def dataset(name: str) -> DatasetFacts:
    """Return the facts of the data set `name`.

    Raises:
        ConfigError: unknown, or a user's class that cannot be imported or has no facts.
    """
    return _facts("dataset", name, DatasetFacts)


def task(name: str) -> TaskFacts:
    """Return the facts of the task `name`.

    Raises:
        ConfigError: unknown.
    """
    return _facts("task", name, TaskFacts)


def known_method(name: object) -> MethodFacts | None:
    """Return the facts of one of our methods; None for any other name, which is not imported."""
    return METHODS.get(name) if isinstance(name, str) else None


def unread_settings(facts: MethodFacts) -> frozenset[str]:
    """Return the settings that other methods read, but not the one with these facts."""
    return _METHOD_SETTINGS - set(facts.reads)


def reads(task_name: str, setting: str) -> bool:
    """Whether the task reads the setting; one that no task names is read by all."""
    return setting not in _TASK_SETTINGS or setting in task(task_name).reads


def dataset_reads(dataset_name: str, setting: str) -> bool:
    """Whether the data set reads the setting; one that no data set names is read by all."""
    return setting not in _DATASET_SETTINGS or setting in dataset(dataset_name).reads


def check_listed(field: str, name: str) -> None:
    """Refuse a name that is neither one of ours nor written as one of the user's own.

    Raises:
        ConfigError: lists ours.
    """
    if name not in _BUILTIN[field] and not is_own(name):
        raise _unknown(field, name, f", or {FORM} of your own")


def own_parts(config: Config) -> tuple[Any, ...]:
    """Return the classes and functions of the user's own that `config` names. They are other
    objects once their module was reloaded, so results of earlier code can be told apart.
    """
    named = ((field, getattr(config, field)) for field in (*_BUILTIN, "backbone", "aggregator"))
    return tuple(load_named(name, field) for field, name in named if is_own(name))


def implementation(field: str, name: str, contract: type) -> Any:
    """Return the class behind the data set, head, method or task `name`.

    Args:
        field: `dataset`, `head`, `method` or `task`.
        contract: the class must be a subclass of it.

    Raises:
        ConfigError: a user's class that cannot be imported, is not a subclass of `contract`, or
            lacks some of its methods.
    """
    path = name if is_own(name) else _BUILTIN[field][name].implementation
    found = load_named(path, field)
    if not (isinstance(found, type) and issubclass(found, contract)):
        raise ConfigError(
            f"{field}={name!r}: is not a subclass of "
            f"{contract.__module__}.{contract.__qualname__}; derive the class from it"
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{field}={name!r}: does not define {', '.join(missing)}; add them")
    return found


_BUILTIN: Mapping[str, Mapping[str, Any]] = {
    "dataset": DATASETS,
    "head": HEADS,
    "method": METHODS,
    "task": TASKS,
}

_TASK_SETTINGS = frozenset(name for facts in TASKS.values() for name in facts.reads)
_DATASET_SETTINGS = frozenset(name for facts in DATASETS.values() for name in facts.reads)
_METHOD_SETTINGS = frozenset(name for facts in METHODS.values() for name in facts.reads)


def _facts(field: str, name: str, kind: type) -> Any:
    known = _BUILTIN[field].get(name)
    if known is not None:
        return known
    if not is_own(name) or kind is TaskFacts:
        raise _unknown(field, name, "" if kind is TaskFacts else f", or {FORM} of your own")
    return _own_facts(field, name, kind)


def _unknown(field: str, name: str, own: str) -> ConfigError:
    known = ", ".join(_BUILTIN[field])
    return ConfigError(f"{field}={name!r} is not accepted; use one of {known}{own}")


def _own_facts(field: str, name: str, kind: type[Any]) -> Any:
    facts: Any = getattr(load_named(name, field), "facts", None)
    if not isinstance(facts, kind):
        raise ConfigError(
            f"{field}={name!r}: has no facts; give the class an attribute "
            f"`facts = {kind.__name__}(...)` (patchtrain.catalog)"
        )
    _check_forms(field, name, facts)
    named = [facts.task] if isinstance(facts, DatasetFacts) else facts.refuses
    for task_name in named:
        if task_name not in TASKS:
            raise ConfigError(
                f"{field}={name!r}: its facts name the task {task_name!r}, which does not exist; "
                f"use one of {', '.join(TASKS)}"
            )
    return facts


def _check_forms(field: str, name: str, facts: Any) -> None:
    """Check the values in the facts of a user's class, which no type checker may have seen."""
    rules = (
        (
            "input_side",
            lambda value: value in ("patch_size", "image_size"),
            "patch_size, image_size",
        ),
        ("refuses", lambda value: isinstance(value, Mapping), "{'detection': 'why; use ...'}"),
        ("defaults", lambda value: isinstance(value, Mapping), "{'image_size': 1024}"),
    )
    for fact, holds, example in rules:
        if hasattr(facts, fact) and not holds(getattr(facts, fact)):
            raise ConfigError(
                f"{field}={name!r}: its facts have {fact}={getattr(facts, fact)!r}; write for "
                f"example {example}"
            )
