"""Orders points by one or two objectives, all of them minimised. Pure numpy."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def non_dominated_rank(points: npt.ArrayLike) -> Ints:
    """Return for each of the n points the number of its front, 0 for the best, in O(n log n).

    A point dominates another if it is no worse in every objective and better in one. Front 0 has
    the points that no point dominates, front 1 those that only points of front 0 dominate, and so
    on. Equal points share a front. A point with a NaN or infinite objective comes after all others.

    Args:
        points: (n, 1) or (n, 2).
    """
    values = _as_points(points)
    known = np.isfinite(values).all(axis=1)
    distinct, index_of = np.unique(values[known], axis=0, return_inverse=True)
    lowest: list[float] = []  # lowest second objective of each front so far; ascending
    ranks_of_distinct = np.zeros(len(distinct), dtype=np.int64)
    for index, second in enumerate(distinct[:, 1].tolist()):
        # no point before has a greater first objective, so the second one decides who dominates
        rank = bisect_right(lowest, second)
        lowest[rank : rank + 1] = [second]
        ranks_of_distinct[index] = rank
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[known] = ranks_of_distinct[index_of.reshape(-1)]
    ranks[~known] = ranks_of_distinct.max(initial=-1) + 1
    return ranks


def order(points: npt.ArrayLike, count: int | None = None) -> Ints:
    """Return the indices of the first `count` points, best first: by front, spread out within one.

    Within a front the point that is best in the first objective comes first, then always the one
    farthest from those before it, with each objective scaled to its range. So every start of the
    order covers the front (the epsilon-net of MO-ASHA, Schmucker et al. 2021, arXiv:2106.12639).
    Among equal points the earlier index comes first.

    Args:
        points: (n, 1) or (n, 2).
        count: how many indices to return; None: all.
    """
    values = _as_points(points)
    count = len(values) if count is None else count
    ranks = non_dominated_rank(values)
    ordered: list[int] = []
    by_rank = np.argsort(ranks, kind="stable")
    start = 0
    while len(ordered) < min(count, len(values)):
        end = int(np.searchsorted(ranks[by_rank], ranks[by_rank[start]], side="right"))
        members = by_rank[start:end]
        ordered.extend(members[_spread(values[members])].tolist())
        start = end
    return np.array(ordered[:count], dtype=np.int64)


def _as_points(points: npt.ArrayLike) -> Floats:
    """Return the points as (n, 2); one objective gets a second that is always 0."""
    values = np.asarray(points, dtype=np.float64)
    if values.size == 0:
        return values.reshape(0, 2)
    if values.ndim != 2 or values.shape[1] not in (1, 2):
        raise ValueError(f"points of shape {values.shape}; must be (n, 1) or (n, 2)")
    return np.pad(values, [(0, 0), (0, 2 - values.shape[1])])


def _spread(front: Floats) -> list[int]:
    """Return the order of the points of one front, each as far as possible from those before."""
    if len(front) == 1 or not np.isfinite(front).all():  # unknown points cannot be told apart
        return list(range(len(front)))
    low, high = front.min(axis=0), front.max(axis=0)
    scaled = (front - low) / np.where(high > low, high - low, 1.0)
    taken = [int(np.argmin(scaled[:, 0]))]
    distance = np.linalg.norm(scaled - scaled[taken[0]], axis=1)
    distance[taken[0]] = -1.0
    while len(taken) < len(front):
        farthest = int(np.argmax(distance))
        taken.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[farthest], axis=1))
        distance[taken] = -1.0
    return taken
