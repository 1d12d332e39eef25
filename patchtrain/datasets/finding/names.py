"""Names that two programs wrote a little differently, matched where the meaning is certain.

Accented letters have two forms in Unicode (macOS writes NFD), file systems and Windows do not tell
upper from lower case, and pandas writes whole numbers as 12.0 once a column has a gap.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

_AS_FLOAT = re.compile(r"(\d+)\.0+")


class _Rule(NamedTuple):
    """Names with the same key mean the same, unless several do."""

    difference: str
    key: Callable[[str], str]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _without_point(name: str) -> str:
    found = _AS_FLOAT.fullmatch(name)
    return found[1] if found else name


_RULES = (
    _Rule("the Unicode form (NFC or NFD)", _nfc),
    _Rule("upper and lower case", lambda name: _nfc(name).casefold()),
    _Rule("how the number is written", _without_point),
)


def match_names(wanted: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Return each wanted name with the name `there` that is certainly meant.

    An equal name is always meant. Of what is left, two names belong together if they are equal but
    for one of the differences above, and no other name is.
    """
    there = set(there)
    left = sorted(set(wanted))
    found = {name: name for name in left if name in there}
    there -= found.keys()
    for rule in _RULES:
        left = [name for name in left if name not in found]
        if not (left and there):
            break
        ours, theirs = _by_key(left, rule), _by_key(there, rule)
        for key, names in ours.items():
            others = theirs.get(key, ())
            if len(names) == len(others) == 1:
                found[names[0]] = others[0]
        there -= set(found.values())
    return found


def nearly(name: str, there: Iterable[str]) -> str:
    """Return a remark on the names `there` that differ from `name` in one respect only; empty if
    there are none.
    """
    there = list(there)
    for rule in _RULES:
        near = [other for other in sorted(there) if rule.key(other) == rule.key(name)]
        if near:
            listed = " and ".join(map(ascii, near[:3]))
            return f" ({name!a} and {listed} differ only in {rule.difference})"
    return ""


def _by_key(names: Iterable[str], rule: _Rule) -> dict[str, Sequence[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[rule.key(name)].append(name)
    return dict(groups)
