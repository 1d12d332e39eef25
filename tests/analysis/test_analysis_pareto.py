"""The front and its hypervolume against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import front_steps, hypervolume, non_dominated

# few distinct values, so that ties in one and in both coordinates are common
coordinate = st.integers(-3, 6).map(float) | st.sampled_from([np.nan, np.inf, -np.inf])
points = st.lists(st.tuples(coordinate, coordinate), max_size=14)
finite_points = st.lists(st.tuples(st.integers(-3, 6), st.integers(-3, 6)), max_size=14)


def _columns(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _brute_force(metric: np.ndarray, peak: np.ndarray) -> list[bool]:
    known = np.isfinite(metric) & np.isfinite(peak)
    return [
        bool(known[i])
        and not any(
            known[j]
            and metric[j] >= metric[i]
            and peak[j] <= peak[i]
            and (metric[j] > metric[i] or peak[j] < peak[i])
            for j in range(len(metric))
        )
        for i in range(len(metric))
    ]


@given(points)
def test_non_dominated_equals_brute_force(pairs: list[tuple[float, float]]) -> None:
    metric, peak = _columns(pairs)
    assert non_dominated(metric, peak).tolist() == _brute_force(metric, peak)


def test_equal_points_are_both_on_the_front() -> None:
    assert non_dominated([0.5, 0.5, 0.4], [10, 10, 10]).tolist() == [True, True, False]


def test_unknown_points_neither_stand_on_the_front_nor_dominate() -> None:
    metric, peak = [np.nan, np.inf, 0.1, 0.9], [1, 1, 5, np.nan]
    assert non_dominated(metric, peak).tolist() == [False, False, True, False]


@given(points)
def test_steps_give_the_best_metric_within_every_peak(pairs: list[tuple[float, float]]) -> None:
    metric, peak = _columns(pairs)
    known = np.isfinite(metric) & np.isfinite(peak)
    steps_peak, steps_metric = front_steps(metric, peak, until=9.0)
    assert (steps_peak.size == 0) == (not known.any())
    for x in np.arange(-4, 9):
        fits = known & (peak <= x)
        # of two corners at one peak the later is the higher: the value from there on
        reached = steps_metric[steps_peak <= x]
        assert fits.any() == (reached.size > 0)
        if fits.any():
            assert reached[-1] == metric[fits].max()
    assert steps_peak.size == 0 or steps_peak[-1] == 9.0


def test_steps_end_at_the_last_point_without_until() -> None:
    steps_peak, steps_metric = front_steps([0.2, 0.5, 0.4], [1, 3, 5])
    assert steps_peak.tolist() == [1, 3, 3]
    assert steps_metric.tolist() == [0.2, 0.2, 0.5]


@given(finite_points, st.integers(-4, 6), st.integers(-4, 7))
def test_hypervolume_equals_the_number_of_dominated_unit_cells(
    pairs: list[tuple[float, float]], reference_metric: int, reference_peak: int
) -> None:
    metric, peak = _columns(pairs)
    cells = sum(
        any(m >= y + 1 and p <= x for m, p in pairs)
        for y in range(reference_metric, 7)
        for x in range(-4, reference_peak)
    )
    assert hypervolume(metric, peak, reference_metric, reference_peak) == cells


def test_hypervolume_of_a_known_front() -> None:
    # 0.5 from 2 to 6, and 0.3 more from 4 to 6
    assert hypervolume([0.5, 0.8, 0.1], [2, 4, 9], 0.0, 6.0) == pytest.approx(2.6)


def test_points_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        non_dominated([1.0, 2.0], [1.0])


def test_hypervolume_refuses_an_infinite_reference() -> None:
    with pytest.raises(ValueError, match="finite"):
        hypervolume([1.0], [1.0], 0.0, np.inf)
