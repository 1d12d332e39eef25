"""The paper's tables as data."""

from __future__ import annotations

from analysis.reference import load_reference

GB = 10**9


def test_table_one_is_whole() -> None:
    points = load_reference("panda")
    assert [(p.method, p.image_size, p.patch_size, p.peak_bytes, p.metric) for p in points] == [
        ("patchgd", 512, 128, 10 * GB, 0.534),
        ("patchgd", 2048, 128, 12 * GB, 0.596),
        ("patchgd", 4096, 128, 20 * GB, 0.653),
        ("patchgd", 4096, 256, 20 * GB, 0.645),
        ("local_global", 512, 128, 10 * GB, 0.593),
        ("local_global", 2048, 128, 13 * GB, 0.639),
        ("local_global", 4096, 128, 21 * GB, 0.692),
        ("local_global", 4096, 256, 21 * GB, 0.714),
    ]
    assert {p.table for p in points} == {"I"}


def test_table_two_keeps_unknown_peaks_unknown() -> None:
    points = load_reference("ultramnist")
    assert [p.peak_bytes for p in points] == [
        None,
        None,
        2_500_000_000,
        2_300_000_000,
        2_700_000_000,
        2_600_000_000,
    ]
    assert [p.metric for p in points] == [0.529, 0.671, 0.621, 0.724, 0.633, 0.735]
    assert {p.budget_bytes for p in points} == {4 * GB}


def test_other_data_sets_have_no_reference() -> None:
    assert load_reference("my_slides") == ()
    assert load_reference(None) == ()
    assert load_reference("../panda") == ()
