"""How a setting of `TrialConfig` is declared: its bounds, how text becomes its value, and how a
sweep varies it, all next to its default. Knows no particular setting.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from patchtrain.catalog import Search
from patchtrain.errors import ConfigError

MAX_INTEGER = 2**31 - 1

Check = Callable[[str, Any], None]
"""Takes a setting's name and value; raises ConfigError if the value breaks the setting's rule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingFacts:
    """What is declared with a setting besides its type and default."""

    check: Check
    parse: Callable[[Any], Any] = lambda value: value
    """Turns what a person wrote into a value of the setting's type."""
    wanted: str = ""
    """How to write it, for messages; if empty, its type says it."""
    choices: tuple[str, ...] = ()
    """The accepted names; empty if the list is open."""
    search: Search | None = None
    """How a sweep varies it; None: no sweep does."""
    affects_memory: bool = True
    """Whether it can change what a training step allocates."""
    earlier: Any = None
    """The value that trials had before the setting existed, if it is not always the default."""
    is_placement: bool = False
    """Whether it says where a trial runs rather than what it does: such settings may change when a
    trial is resumed."""


def setting(default: Any, check: Check | None = None, **facts: Any) -> Any:
    """Return a field of `TrialConfig` with its default; see `SettingFacts` for the rest."""
    declared = SettingFacts(check=check or (lambda name, value: None), **facts)
    return dataclasses.field(default=default, metadata={"facts": declared})


def must(rule: str, holds: Callable[[Any], bool], remedy: str) -> Check:
    """Return a check whose message reads `name=value must RULE; REMEDY`."""

    def check(name: str, value: Any) -> None:
        if not holds(value):
            raise ConfigError(f"{name}={value} must {rule}; {remedy}")

    return check


def whole(least: int = 1, most: int = MAX_INTEGER, why_most: str = "lower it") -> Check:
    """Return a check that a whole number lies between `least` and `most`, both included."""

    def check(name: str, value: int) -> None:
        if value > most:
            raise ConfigError(f"{name}={value} must be at most {most}; {why_most}")
        if value < least:
            if least == 0:
                raise ConfigError(f"{name}={value} must not be negative; use 0 or more")
            raise ConfigError(f"{name}={value} must be at least {least}; raise it")

    return check


def finite(rule: str, least: float, example: str, *, above: bool = False) -> Check:
    """Return a check that a number is finite and at least `least`, or above it."""
    return must(
        f"be {rule} and finite",
        lambda value: math.isfinite(value) and (value > least if above else value >= least),
        f"e.g. {example}",
    )


@cache
def facts_of(config_type: type, name: str) -> SettingFacts:
    """Return what is declared with the setting `name`."""
    field = config_type.__dataclass_fields__[name]  # type: ignore[attr-defined]
    facts = field.metadata["facts"]
    choices = _closed_list(config_type, name)
    return dataclasses.replace(facts, choices=choices) if choices else facts


def check_value(config_type: type, name: str, value: Any) -> None:
    """Raise ConfigError if the setting does not accept `value`, which has the right type."""
    facts = facts_of(config_type, name)
    if facts.choices and value not in facts.choices:
        raise ConfigError(
            f"{name}={value!r} is not accepted; use one of {', '.join(facts.choices)}"
        )
    if value is not None:
        facts.check(name, value)


def converted(config_type: type, name: str, value: Any) -> Any:
    """Return a value of the setting's type from `value`, which a person wrote in YAML.

    Raises:
        ConfigError: it cannot be converted.
    """
    facts = facts_of(config_type, name)
    value = facts.parse(value)
    if type(value) in _complete_types(config_type, name):
        return value  # nothing that pydantic, which takes longer, would find or change
    hint = _hints(config_type)[name]
    if isinstance(value, bool) and bool not in _members(hint):
        raise ConfigError(f"{name}={value!r} is a truth value; {_wanted(config_type, name)}")
    from pydantic import ValidationError

    try:
        return _adapter(config_type, name).validate_python(value)
    except ValidationError:
        raise ConfigError(
            f"{name}={value!r} is not accepted; {_wanted(config_type, name)}"
        ) from None


def column_type(config_type: type, name: str) -> str:
    """Return the kind of column that records the setting: `str`, `int`, `float` or `bool`."""
    kinds = {kind for kind in _members(_hints(config_type)[name]) if kind is not type(None)}
    return next(iter(kinds)).__name__ if len(kinds) == 1 and kinds <= _PLAIN else "str"


def is_text(config_type: type, name: str) -> bool:
    """Return whether every value of the setting is text."""
    kinds = {kind for kind in _members(_hints(config_type)[name]) if kind is not type(None)}
    return kinds == {str}


def recorded_value(config_type: type, name: str, value: Any) -> Any:
    """Return the setting as its column holds it: as text if it may be of several types."""
    if value is None or isinstance(value, str) or column_type(config_type, name) != "str":
        return value
    return str(value).lower()


def from_record(config_type: type, name: str, value: Any) -> Any:
    """Return the setting as `TrialConfig` has it, given what its column holds."""
    members = _members(_hints(config_type)[name])
    if not isinstance(value, str) or column_type(config_type, name) != "str":
        return value
    if bool in members and value in ("true", "false"):
        return value == "true"
    if float in members:
        with suppress(ValueError):
            return float(value)
    return int(value) if int in members and value.isdecimal() else value


_PLAIN = {int, float, bool, str}


def _wanted(config_type: type, name: str) -> str:
    facts = facts_of(config_type, name)
    if facts.choices:
        return f"use one of {', '.join(facts.choices)}"
    if facts.wanted:
        return facts.wanted
    kind = column_type(config_type, name)
    named = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    return f"give {named.get(kind, 'text')}"


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the types that a value of the type `hint` may have."""
    if get_origin(hint) is Literal:
        return (str,)
    return get_args(hint) or (hint,)


@cache
def _complete_types(config_type: type, name: str) -> frozenset[type]:
    """Return the types whose every value is one of the setting's type; names of a closed list are
    checked apart from their type.
    """
    hint = _hints(config_type)[name]
    members = (str,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
    return frozenset(kind for kind in members if isinstance(kind, type))


@cache
def _closed_list(config_type: type, name: str) -> tuple[str, ...]:
    hint = _hints(config_type)[name]
    return get_args(hint) if get_origin(hint) is Literal else ()


@cache
def _hints(config_type: type) -> dict[str, Any]:
    return get_type_hints(config_type)


@cache
def _adapter(config_type: type, name: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_hints(config_type)[name])
