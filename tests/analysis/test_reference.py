"""The paper's tables as data, against a second typing of them in the paper's own layout."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from analysis.reference import ReferencePoint, load_reference, load_tables

GB = 10**9

# typed from the printed tables, independently of the CSV files; a dash is what is not given
TABLES = {
    "I": """
        512 128 20 16 4 10 53.4
        2048 128 7 16 11 12 59.6
        4096 128 7 24 11 20 65.3
        4096 256 7 24 11 20 64.5
        512 128 20 16 4 10 59.3
        2048 128 7 16 11 13 63.9
        4096 128 7 24 11 21 69.2
        4096 256 7 24 11 21 71.4
    """,
    "II": """
        - 52.9
        - 67.1
        2.5 62.1
        2.3 72.4
        2.7 63.3
        2.6 73.5
    """,
    "III": """
        511x511 20.2 42.6 20.4 13.1 16.3 36.8 12
        800x1024 21.5 45.3 20.5 12.3 18.4 37.2 15
        511x511 21.9 43.7 20.8 14.1 19.4 38.2 12
        640x640 23.3 46.4 21.7 15.8 28.3 40.3 17
        4096x4096 25.4 49.2 25.2 17.4 29.2 42.6 20
    """,
    "IV": """
        23.9 49.5 19.9 32
        24.6 49.5 21.7 201
        26.7 53.4 23.0 9
        28.6 54.2 23.3 33
    """,
    "V": """
        511x511 24.5 44.7 21.4 15.6 18.3 39.1 71 12
        800x1024 23.3 44.9 22.5 15.3 16.4 38.3 32 14
        511x511 24.9 45.9 23.3 15.4 18.9 39.4 201 13
        640x640 27.2 47.7 25.1 17.6 20.3 41.8 9 18
        4096x4096 29.4 49.8 26.6 19.1 22.7 43.2 33 20
    """,
    "VI": """
        512 Full 96.3 78.2 64.2 86.7 37.7 19.2 7.0
        128 Down. 93.9 61.0 43.9 75.3 16.5 31.9 1.3
        128 Ours‡ 96.4 79.4 66.0 88.5 53.3 21.3 3.4
        128 Ours 96.5 79.8 66.5 89.0 50.7 20.5 3.6
        512 Full 94.0 66.3 49.6 81.9 20.3 33.8 4.5
        128 Down. 89.4 33.9 20.4 63.1 6.4 72.3 1.4
        128 Ours‡ 93.9 65.0 48.2 80.8 65.9 36.2 2.8
        128 Ours 93.8 65.6 48.9 81.8 64.7 33.8 2.9
    """,
    "VII": """
        1024 Full 95.3 38.9 29.8 67.9 22.6 37.8 21.0
        256 Down. 94.9 33.8 24.6 64.8 14.9 44.0 2.2
        256 Ours‡ 95.1 33.7 25.4 64.9 20.7 43.9 11.2
        256 Ours 95.3 32.1 24.1 63.3 27.0 47.6 11.7
        128 Ours 95.5 32.7 25.5 64.2 23.1 45.8 3.3
        1024 Full 95.9 42.4 32.8 70.0 25.1 33.4 14.6
        256 Down. 93.8 32.5 22.2 63.9 19.7 45.7 2.0
        256 Ours‡ 95.1 34.0 25.9 66.2 13.2 40.9 7.9
        256 Ours 95.2 31.9 24.1 64.5 21.0 44.5 8.6
        128 Ours 95.2 31.3 23.2 64.1 23.2 45.4 3.7
    """,
    "VIII": """
        128 5 92.2 20.4 12.7 45.4 5.8 58.2 3.6 2.1
        128 5 93.3 20.3 12.7 47.3 7.8 54.1 3.8 1.7
        512 1 94.8 26.9 19.1 48.1 19.5 53.1 3.5 1.5
        1024 1 95.0 33.5 25.1 52.3 20.5 44.2 3.7 2.6
    """,
}
SEGMENTATION = ("accuracy", "f1", "iou", "balanced_accuracy", "plr", "nlr")
DETECTION = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")


def _number(value: float | None, decimals: int = 1) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _metrics(point: ReferencePoint, names: tuple[str, ...]) -> list[str]:
    return [
        _number(point.metrics[name] * (1 if name == "plr" else 100))
        for name in names
        if name in point.metrics
    ]


def _gigabytes(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else num_bytes / GB


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 10**6


def _small(point: ReferencePoint) -> str:
    """Return what tables VI and VII call size: of the patch, or of the image without patches."""
    return str(point.patch_size or point.image_height)


PRINTED: dict[str, Callable[[ReferencePoint], list[str]]] = {
    "I": lambda p: [
        str(p.image_height),
        str(p.patch_size),
        _whole((p.sampling_rate or 0) * 100),
        _whole(_gigabytes(p.budget_bytes)),
        str(p.inner_iterations),
        _whole(_gigabytes(p.peak_bytes)),
        *_metrics(p, ("accuracy",)),
    ],
    "II": lambda p: [_number(_gigabytes(p.peak_bytes)), *_metrics(p, ("accuracy",))],
    "III": lambda p: [
        f"{p.image_height}x{p.image_width}",
        *_metrics(p, DETECTION),
        _whole(_gigabytes(p.peak_bytes)),
    ],
    "IV": lambda p: [*_metrics(p, DETECTION), _whole(_millions(p.num_parameters))],
    "V": lambda p: [
        f"{p.image_height}x{p.image_width}",
        *_metrics(p, DETECTION),
        _whole(_millions(p.num_parameters)),
        _whole(_gigabytes(p.peak_bytes)),
    ],
    "VI": lambda p: [
        _small(p),
        p.label,
        *_metrics(p, SEGMENTATION),
        _number(_gigabytes(p.peak_bytes)),
    ],
    "VIII": lambda p: [
        _small(p),
        str(p.batch_size),
        *_metrics(p, SEGMENTATION),
        _number(_gigabytes(p.ram_bytes)),
        _number(_gigabytes(p.peak_bytes)),
    ],
}
PRINTED["VII"] = PRINTED["VI"]


@pytest.mark.parametrize("table", TABLES)
def test_tables_equal_their_second_typing(table: str) -> None:
    rows = [" ".join(PRINTED[table](point)) for point in load_tables() if point.table == table]
    assert rows == [line.strip() for line in TABLES[table].strip().splitlines()]


def test_no_table_is_left_out() -> None:
    assert list(dict.fromkeys(point.table for point in load_tables())) == list(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_methods_follow_from_the_labels(table: str) -> None:
    meaning = {
        "Ours": "local_global",
        "Ours‡": "patchgd",
        "[37]*": "patchgd",
        "SGD": "full",
        "Full": "full",
        "Down.": "downsampled",
    }
    for point in load_tables():
        if point.table == table and point.label in meaning:
            assert point.method == meaning[point.label]


def test_every_point_says_where_it_stands() -> None:
    last = load_reference("aerial")[-1]
    assert last.source == "the paper, Table VIII, page 6"
    assert load_reference("coco_mosaic")[1].size_text == "image 800 x 1024 px"
    assert load_reference("soda")[0].size_text == "image size not stated"


def test_the_text_says_what_the_tables_say() -> None:
    # figures that the paper repeats in its text
    by_table = {point.table: point for point in load_tables() if point.label == "Ours"}
    assert by_table["I"].metrics["accuracy"] == 0.714  # "outperforms PatchGD by 6.9%"
    assert by_table["I"].metrics["accuracy"] - 0.645 == pytest.approx(0.069)
    assert by_table["IV"].peak_bytes == 18 * GB  # "Peak memory usage is 18GB for our method"
    assert by_table["III"].metrics["ap"] == 0.254


def test_other_data_sets_have_no_reference() -> None:
    assert load_reference("my_slides") == ()
    assert load_reference(None) == ()
    assert load_reference("../panda") == ()
