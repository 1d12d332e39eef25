"""Names that programs wrote a little differently."""

from __future__ import annotations

import unicodedata

import pytest

from patchtrain.datasets.finding.names import match_names, nearly

_NFC = unicodedata.normalize("NFC", "Zürich é")
_NFD = unicodedata.normalize("NFD", _NFC)


@pytest.mark.parametrize(
    "wanted, there, meant",
    [
        (["a"], ["a", "A"], {"a": "a"}),
        (["a"], ["A"], {"a": "A"}),
        ([_NFC], [_NFD], {_NFC: _NFD}),
        ([_NFD], [_NFC], {_NFD: _NFC}),
        ([_NFC.upper()], [_NFD], {_NFC.upper(): _NFD}),
        (["7.0", "8.00"], ["7", "8"], {"7.0": "7", "8.00": "8"}),
        (["7"], ["7.0"], {"7": "7.0"}),
    ],
)
def test_names_are_matched_where_the_meaning_is_certain(wanted, there, meant):
    assert match_names(wanted, there) == meant


@pytest.mark.parametrize(
    "wanted, there",
    [
        (["a"], ["b"]),
        (["ab"], ["AB", "aB"]),
        (["ab", "Ab"], ["AB"]),
        (["7"], ["007"]),
        (["7.5"], ["7"]),
    ],
)
def test_names_are_not_matched_where_it_is_not(wanted, there):
    assert match_names(wanted, there) == {}


def test_a_file_that_is_listed_by_its_own_name_is_not_meant_by_another():
    assert match_names(["a", "A"], ["A"]) == {"A": "A"}


def test_the_difference_is_named():
    assert nearly("ab", ["AB", "aB", "c"]) == (
        " ('ab' and 'AB' and 'aB' differ only in upper and lower case)"
    )
    assert "NFC or NFD" in nearly(_NFC, [_NFD])
    assert nearly("a", ["b"]) == ""
