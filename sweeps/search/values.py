"""From `--vary NAME=A,B,C` and `--vary NAME=LOW:HIGH` to the values that a setting takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml

from patchtrain.catalog import Range, Values
from patchtrain.config import is_text_setting
from patchtrain.errors import ConfigError
from patchtrain.extension import has_form
from patchtrain.yaml_text import read_value
from sweeps.search.settings import SEARCHABLE, number_type


def parse_varied(texts: Sequence[str]) -> dict[str, Values | None]:
    """Return what `--vary NAME`, `NAME=A,B,C` and `NAME=LOW:HIGH` ask for, by name.

    Raises:
        ConfigError: a name is given twice, has no values, or has a range with bad ends.
    """
    varied: dict[str, Values | None] = {}
    for text in texts:
        name, separator, listed = (part.strip() for part in text.partition("="))
        if name in varied:
            raise ConfigError(f"--vary {name} is given twice; give it once, with all its values")
        varied[name] = _parse_values(name, text, listed) if separator else None
    return varied


def _parse_values(name: str, text: str, listed: str) -> Values:
    low, separator, high = listed.partition(":")
    takes_names = name in SEARCHABLE and number_type(name) is None
    if separator and not (takes_names and any(map(has_form, listed.replace(" ", "").split(",")))):
        return _parse_range(text, low, high)
    values = tuple(_parse_value(name, text, value) for value in listed.split(","))
    if None in values:
        raise ConfigError(f"--vary {text}: has an empty value; write NAME=A,B,C or NAME=LOW:HIGH")
    return values


def _parse_range(text: str, low: str, high: str) -> Range:
    try:
        ends = Range(low=float(low), high=float(high))
    except ValueError:
        ends = Range(low=math.nan, high=math.nan)
    if not (0 < ends.low < ends.high < math.inf):
        raise ConfigError(
            f"--vary {text}: a range is LOW:HIGH with 0 < LOW < HIGH, e.g. 1e-4:1e-2; to try 0 "
            "too, list the values: 0,1e-4,1e-2"
        )
    return ends


def _parse_value(name: str, text: str, value: str) -> Any:
    if not value.strip():
        return None
    try:
        parsed = read_value(value, is_text=is_text_setting(name))
    except (yaml.YAMLError, ValueError):
        parsed = {}
    if isinstance(parsed, dict | list | set):
        raise ConfigError(
            f"--vary {text}: cannot read {value!r} as a value; write NAME=A,B,C or NAME=LOW:HIGH"
        )
    return parsed
