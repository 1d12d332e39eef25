"""Memory sizes as people write them (`8GB`, `512MiB`) and as programs hold them (bytes)."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from patchtrain.errors import ConfigError

_UNIT_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
MAX_BYTES = 2**63 - 1
"""The largest number that a column of whole numbers can hold."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)\s*")


def parse_bytes(text: str | int) -> int:
    """Return the bytes that `text` means: `8GB` is 8 * 10**9, `8GiB` 8 * 2**30; an int is bytes.

    Raises:
        ValueError: not a size, or not positive; the message says what is expected.
    """
    rule = "write a positive size with its unit, such as 8GB (10^9), 8GiB (2^30) or 512MiB"
    if isinstance(text, bool) or not isinstance(text, (int, str)):
        raise ValueError(rule)
    if isinstance(text, int):
        num_bytes = text
    elif text.strip().isdigit():
        num_bytes = int(text)
    else:
        match = _SIZE.fullmatch(text)
        if match is None or match[2].upper() not in _UNIT_BYTES:
            raise ValueError(rule)
        # exactly: in floating point 4.095KB would be 4094 bytes
        num_bytes = int(Decimal(match[1]) * _UNIT_BYTES[match[2].upper()])
    if not 0 < num_bytes <= MAX_BYTES:
        raise ValueError(rule)
    return num_bytes


def parse_budget(text: str | int, field: str = "budget") -> int:
    """Return the budget in bytes that a person wrote as `4GB`, `4GiB`, `512MiB` or plain bytes.

    Raises:
        ConfigError: not a positive size; names `field`.
    """
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{field}={text!r} is not a memory size; {error}") from None


def format_bytes(num_bytes: float | None) -> str:
    """Return `num_bytes` for people, in decimal units (`4.0GB`, `83.2MB`); None is `unknown`."""
    if num_bytes is None or math.isnan(num_bytes):
        return "unknown"
    if abs(num_bytes) >= 10**4 * _UNIT_BYTES["TB"]:  # `%g` would write an exponent
        return f"{num_bytes / _UNIT_BYTES['TB']:.0f}TB"
    for unit in ("TB", "GB", "MB", "KB"):
        if abs(num_bytes) >= _UNIT_BYTES[unit]:
            return f"{num_bytes / _UNIT_BYTES[unit]:.4g}{unit}"
    return f"{num_bytes:.0f}B"
