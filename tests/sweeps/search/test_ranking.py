"""Fronts and their order, against the definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.search.ranking import non_dominated_rank, order

NUMBERS = st.one_of(st.integers(0, 4).map(float), st.just(math.nan), st.just(math.inf))
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20)


def dominates(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def ranks_by_definition(points):
    left = {i for i, point in enumerate(points) if all(map(math.isfinite, point))}
    ranks = [0] * len(points)
    rank = 0
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
        rank += 1
    unknown = [i for i, point in enumerate(points) if not all(map(math.isfinite, point))]
    for i in unknown:
        ranks[i] = rank
    return ranks


@given(POINTS)
def test_ranks_are_those_of_the_definition(points):
    assert non_dominated_rank(points).tolist() == ranks_by_definition(points)


@given(st.lists(NUMBERS, max_size=20))
def test_with_one_objective_the_rank_counts_better_values(values):
    points = [(value,) for value in values]
    assert non_dominated_rank(points).tolist() == ranks_by_definition(points)


@given(POINTS, st.integers(0, 25))
def test_the_order_goes_front_by_front_and_a_count_is_its_beginning(points, count):
    whole = order(points)
    assert sorted(whole.tolist()) == list(range(len(points)))
    ranks = non_dominated_rank(points)
    assert (np.diff(ranks[whole]) >= 0).all()
    assert order(points, count).tolist() == whole[:count].tolist()


def test_within_a_front_the_leader_comes_first_and_then_what_is_farthest():
    front = [(0.0, 10.0), (1.0, 9.0), (5.0, 5.0), (10.0, 0.0)]
    assert order(front).tolist() == [0, 3, 2, 1]


def test_objectives_count_by_their_range_and_not_by_their_units():
    front = np.array([(0.0, 10.0), (1.0, 9.0), (5.0, 5.0), (10.0, 0.0)])
    assert order(front * (1, 1e9)).tolist() == order(front).tolist()


def test_among_equals_the_earlier_one_comes_first():
    assert order([(1.0, 1.0)] * 3).tolist() == [0, 1, 2]
    assert order([(math.nan, 1.0)] * 2).tolist() == [0, 1]


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        non_dominated_rank([(1.0, 2.0, 3.0)])
