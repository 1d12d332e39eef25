from __future__ import annotations

import pytest
from PIL import Image

from patchtrain.commands.memory_figure import MAX_DRAWN_POINTS, draw_timeline, timeline_info
from patchtrain.memory.meter import TimelinePoint


def points(totals, phase="fill"):
    return [TimelinePoint(phase, (total, 0, 0, 0, 0, 0)) for total in totals]


def test_info_holds_every_point_of_a_short_timeline():
    info = timeline_info(points([1, 5]) + points([3], "validation"), budget_bytes=7)
    assert info.held_bytes[0].tolist() == [1, 5, 3]
    assert info.phases == (("fill", 0, 2), ("validation", 2, 3))
    assert (info.peak_bytes, info.peak_index, info.budget_bytes) == (5, 1, 7)


def test_a_long_timeline_keeps_its_peak():
    totals = [1] * 50_000
    totals[31_415] = 99
    info = timeline_info(points(totals), None)
    assert info.held_bytes.shape[1] == MAX_DRAWN_POINTS
    assert info.peak_bytes == 99
    assert info.held_bytes[0, info.peak_index] == 99


def test_an_empty_timeline_is_refused():
    with pytest.raises(ValueError, match="empty"):
        timeline_info([], None)


@pytest.mark.parametrize("budget_bytes", [None, 6 * 10**6, 10**12])
def test_the_figure_is_a_picture(tmp_path, budget_bytes):
    info = timeline_info(points([10**6, 5 * 10**6, 0]), budget_bytes)
    draw_timeline(info, "title", tmp_path / "memory.png")
    with Image.open(tmp_path / "memory.png") as picture:
        assert picture.width > 600
