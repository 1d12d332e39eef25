"""YAML as people mean it: settings with a value each, read as they are written.

YAML 1.1, which PyYAML reads, turns 010 into 8, 4:16 into 256, `no` into false and ~ into nothing,
takes the last of two equal keys, and an empty value for none at all. Here whole numbers are
decimal, dates and sexagesimals are text, and the rest of these is refused. Knows no settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

_TEXT = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """Reads scalars by the rules below; mappings with two equal keys are an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), list(first)
    )


_resolve("null", "null|Null|NULL", "nN")
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9_]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    "-+.0123456789",
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, value in node.value:
        name = str(key.value)
        if name in seen:
            raise yaml.MarkedYAMLError(
                problem=f"{name} is given twice; remove one of the lines",
                problem_mark=key.start_mark,
            )
        seen.add(name)
        if isinstance(value, yaml.ScalarNode) and value.style is None and not value.value:
            raise yaml.MarkedYAMLError(
                problem=f"{name} is empty; give a value, write null, or remove the line",
                problem_mark=key.start_mark,
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_mapping(text: str, is_text: Callable[[str], bool]) -> Any:
    """Return the values of `key: value` lines by key; None if there are no lines.

    Args:
        text: YAML.
        is_text: whether the value of a key is text, which is then taken as it is written.

    Raises:
        yaml.YAMLError: it is not YAML, a key is given twice, or has an empty value.
    """
    node = yaml.compose(text, Loader=_Loader)
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and is_text(key.value):
                _keep_text(value)
    return _constructed(text, node)


def read_value(text: str, *, is_text: bool) -> Any:
    """Return the value that is written as `text`.

    Args:
        text: not empty.
        is_text: whether the value is text, which is then taken as it is written, without quotes
            around it.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    plain = text.strip()
    if is_text and plain not in ("null", "Null", "NULL") and plain[:1] not in "'\"[{":
        return plain
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


def _keep_text(node: yaml.Node) -> None:
    """Make a plain scalar text, unless it is null or empty."""
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    if is_plain and node.value and node.tag != "tag:yaml.org,2002:null":
        node.tag = _TEXT


def _constructed(text: str, node: yaml.Node) -> Any:
    loader = _Loader(text)
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()
