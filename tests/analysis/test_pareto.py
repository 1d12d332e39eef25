"""Fronts and indicators against brute force and Optuna's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank

from analysis.pareto import (
    UNRANKED,
    attainment,
    best_within,
    epsilon_indicator,
    front_ranks,
    front_steps,
    hypervolume,
    hypervolume_path,
    non_dominated,
)

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


@given(points)
def test_ranks_are_the_fronts_that_are_peeled_off_one_by_one(
    pairs: list[tuple[float, float]],
) -> None:
    metric, peak = _columns(pairs)
    expected = np.full(len(pairs), UNRANKED)
    left = metric.copy()
    for rank in range(len(pairs)):
        front = np.array(_brute_force(left, peak), dtype=bool)
        expected[front] = rank
        left[front] = np.nan
    assert front_ranks(metric, peak).tolist() == expected.tolist()


@given(finite_points)
def test_ranks_equal_those_of_optuna(pairs: list[tuple[float, float]]) -> None:
    metric, peak = _columns(pairs)
    theirs = _fast_non_domination_rank(np.c_[-metric, peak]) if pairs else np.array([])
    assert front_ranks(metric, peak).tolist() == theirs.tolist()


@given(finite_points)
def test_hypervolume_equals_that_of_optuna(pairs: list[tuple[float, float]]) -> None:
    metric, peak = _columns(pairs)
    ours = hypervolume(metric, peak, -4.0, 7.0)
    theirs = compute_hypervolume(np.c_[-metric, peak], np.array([4.0, 7.0])) if pairs else 0.0
    assert ours == pytest.approx(theirs)


@given(points, st.integers(-4, 6), st.integers(-4, 7))
def test_path_ends_every_beginning_with_its_hypervolume(
    pairs: list[tuple[float, float]], reference_metric: int, reference_peak: int
) -> None:
    metric, peak = _columns(pairs)
    path = hypervolume_path(metric, peak, reference_metric, reference_peak)
    assert path.tolist() == pytest.approx(
        [
            hypervolume(metric[:stop], peak[:stop], reference_metric, reference_peak)
            for stop in range(1, len(pairs) + 1)
        ]
    )


def test_unknown_points_reach_nothing() -> None:
    assert best_within([np.nan, 0.5], [1.0, np.nan], [0.0, 2.0]).tolist() == [-np.inf, -np.inf]


@given(st.lists(finite_points, min_size=1, max_size=5), st.integers(1, 5))
def test_attainment_is_what_so_many_runs_reach(
    runs: list[list[tuple[float, float]]], num_reaching: int
) -> None:
    num_reaching = min(num_reaching, len(runs))
    at = np.arange(-4.0, 8.0)
    surface = attainment([_columns(pairs) for pairs in runs], at, num_reaching / len(runs))
    for x, value in zip(at, surface, strict=True):
        best = [max((m for m, p in pairs if p <= x), default=-np.inf) for pairs in runs]
        assert value == sorted(best, reverse=True)[num_reaching - 1]


def test_attainment_of_a_share_that_floats_cannot_hold_counts_whole_runs() -> None:
    runs = [([float(index)], [0.0]) for index in range(10)]
    # 0.3 * 10 is 3.0000000000000004 in some orders of rounding; 0.7 * 10 is 7.000000000000001
    assert attainment(runs, [0.0], 0.7).tolist() == [3.0]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, np.nan])
def test_attainment_refuses_a_share_outside_its_range(share: float) -> None:
    with pytest.raises(ValueError, match="share="):
        attainment([([1.0], [1.0])], [1.0], share)


def test_attainment_refuses_no_runs() -> None:
    with pytest.raises(ValueError, match="one run"):
        attainment([], [1.0], 0.5)


@given(finite_points, finite_points, st.sampled_from([0.5, 1.0, 3.0]))
def test_epsilon_equals_its_definition(
    ours: list[tuple[float, float]], theirs: list[tuple[float, float]], unit: float
) -> None:
    expected = max(
        (min((max(m - a, (q - p) / unit) for a, q in ours), default=np.inf) for m, p in theirs),
        default=-np.inf,
    )
    assert epsilon_indicator(_columns(ours), _columns(theirs), unit) == pytest.approx(expected)


def test_epsilon_refuses_a_unit_of_nothing() -> None:
    with pytest.raises(ValueError, match="peak_unit=0"):
        epsilon_indicator(([1.0], [1.0]), ([1.0], [1.0]), 0.0)
