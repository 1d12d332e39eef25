"""Fronts of (metric, peak) points, metric up, peak down: finding, measuring, comparing them.

Pure numpy; knows nothing of trials, files or figures. A point with a NaN or infinite coordinate is
unknown: it dominates nothing, is never on a front and has no volume.

n points, f points on the front.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Ranks = npt.NDArray[np.int64]

UNRANKED = -1
"""Rank of an unknown point."""


def non_dominated(metric: npt.ArrayLike, peak: npt.ArrayLike) -> Mask:
    """Return which of the n points no other point dominates, in O(n log n).

    A point dominates another if it is no worse in both coordinates and better in one, so points
    that are equal in both are kept together.

    Raises:
        ValueError: `metric` and `peak` differ in length.
    """
    metrics, peaks = _as_points(metric, peak)
    known = np.flatnonzero(np.isfinite(metrics) & np.isfinite(peaks))
    mask = np.zeros(len(metrics), dtype=bool)
    if known.size == 0:
        return mask
    order = known[np.argsort(peaks[known])]
    metrics, peaks = metrics[order], peaks[order]
    is_start = np.r_[True, peaks[1:] != peaks[:-1]]
    best_at_peak = np.maximum.reduceat(metrics, np.flatnonzero(is_start))
    best_below = np.r_[-np.inf, np.maximum.accumulate(best_at_peak)[:-1]]
    group = np.cumsum(is_start) - 1
    mask[order] = (metrics == best_at_peak[group]) & (metrics > best_below[group])
    return mask


def front_ranks(metric: npt.ArrayLike, peak: npt.ArrayLike) -> Ranks:
    """Return the front that each of the n points lies on, in O(n log n): non-dominated sorting.

    0 is the front of all points, 1 that of the points without it, and so on; `UNRANKED` for unknown
    points. Points that are equal in both coordinates share a front.

    Source: patience sorting. In the order of their peaks a point belongs on the first front whose
    best metric so far is below its own; these best metrics fall from front to front.

    Raises:
        ValueError: `metric` and `peak` differ in length.
    """
    metrics, peaks = _as_points(metric, peak)
    known = np.flatnonzero(np.isfinite(metrics) & np.isfinite(peaks))
    ranks = np.full(len(metrics), UNRANKED, dtype=np.int64)
    order = known[_by_peak_then_metric(metrics[known], peaks[known])]
    losses, peaks = -metrics[order], peaks[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (losses[1:] != losses[:-1]) | (peaks[1:] != peaks[:-1])
    lowest_loss: list[float] = []  # of each front so far
    rank_of_distinct: list[int] = []
    for loss in losses[is_new].tolist():
        rank = bisect_right(lowest_loss, loss)
        if rank < len(lowest_loss):
            lowest_loss[rank] = loss
        else:
            lowest_loss.append(loss)
        rank_of_distinct.append(rank)
    ranks[order] = np.asarray(rank_of_distinct, dtype=np.int64)[np.cumsum(is_new) - 1]
    return ranks


def front_steps(
    metric: npt.ArrayLike, peak: npt.ArrayLike, until: float | None = None
) -> tuple[Floats, Floats]:
    """Return the corners `(peak, metric)` of the best metric as a function of memory.

    2f - 1 corners for f distinct points on the front, one more where the line goes on to the
    peak `until`.

    Raises:
        ValueError: `metric` and `peak` differ in length.
    """
    metrics, peaks = _front(*_as_points(metric, peak))
    if until is not None and peaks.size and until > peaks[-1]:
        return (
            np.r_[np.repeat(peaks, 2)[1:], until],
            np.repeat(metrics, 2),
        )
    return np.repeat(peaks, 2)[1:], np.repeat(metrics, 2)[:-1]


def hypervolume(
    metric: npt.ArrayLike,
    peak: npt.ArrayLike,
    reference_metric: float,
    reference_peak: float,
) -> float:
    """Return the exact area that the points dominate up to the reference point, in O(n log n).

    The reference point is the worst that counts: points below `reference_metric` or above
    `reference_peak` add nothing. The unit is that of `metric` times that of `peak`.

    Raises:
        ValueError: `metric` and `peak` differ in length, or the reference is not finite.
    """
    _check_reference(reference_metric, reference_peak)
    metrics, peaks = _as_points(metric, peak)
    inside = (metrics > reference_metric) & (peaks < reference_peak)
    metrics, peaks = _front(metrics[inside], peaks[inside])
    widths = np.diff(np.r_[peaks, reference_peak])
    return float(np.sum((metrics - reference_metric) * widths[: len(metrics)]))


def hypervolume_path(
    metric: npt.ArrayLike,
    peak: npt.ArrayLike,
    reference_metric: float,
    reference_peak: float,
) -> Floats:
    """Return the hypervolume of the first 1, 2, ... n points, each point paid for once.

    Equal to `hypervolume` of each beginning of the lists, up to rounding.

    Raises:
        ValueError: `metric` and `peak` differ in length, or the reference is not finite.
    """
    _check_reference(reference_metric, reference_peak)
    metrics, peaks = _as_points(metric, peak)
    counts = np.isfinite(metrics) & (metrics > reference_metric) & (peaks < reference_peak)
    counts &= np.isfinite(peaks)
    front_peaks: list[float] = []  # rising, as are the metrics beside it
    front_metrics: list[float] = []
    gains = np.zeros(len(metrics))
    counted = zip(
        np.flatnonzero(counts).tolist(),
        metrics[counts].tolist(),
        peaks[counts].tolist(),
        strict=True,
    )
    for index, height, start in counted:
        first = bisect_left(front_peaks, start)
        below = front_metrics[first - 1] if first else reference_metric
        if below >= height:
            continue
        if front_peaks[first : first + 1] == [start] and front_metrics[first] >= height:
            continue
        beaten = bisect_right(front_metrics, height)
        # what lay under the new point: the steps from `start` to the first that is still higher
        edges = [start, *front_peaks[first:beaten]]
        levels = [below, *front_metrics[first:beaten]]
        end = front_peaks[beaten] if beaten < len(front_peaks) else reference_peak
        edges.append(end)
        gains[index] = math.fsum(
            (height - level) * (right - left)
            for level, left, right in zip(levels, edges, edges[1:], strict=False)
        )
        front_peaks[first:beaten] = [start]
        front_metrics[first:beaten] = [height]
    return np.cumsum(gains)


def best_within(metric: npt.ArrayLike, peak: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """Return the best metric of the points whose peak is at most each of `at`, -inf without any.

    Raises:
        ValueError: `metric` and `peak` differ in length.
    """
    metrics, peaks = _front(*_as_points(metric, peak))
    place = np.searchsorted(peaks, np.asarray(at, dtype=np.float64), side="right")
    return np.r_[-np.inf, metrics][place]


def attainment(
    runs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], at: npt.ArrayLike, share: float
) -> Floats:
    """Return the metric that at least `share` of the runs reach within each memory of `at`.

    A surface of the empirical attainment function: `share` 0.5 is the median run, 1.0 what every
    run reaches, just over 0 what the best one does. -inf where too few runs have a point there.

    Args:
        runs: one `(metric, peak)` pair of lists for each repetition, such as a seed.
        at: memories to ask for.
        share: above 0 and at most 1.

    Raises:
        ValueError: there are no runs, or `share` is outside its range.

    Source: Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic
    optimisers and the attainment function", 2001.
    """
    if not runs:
        raise ValueError("attainment needs at least one run")
    if not 0 < share <= 1:
        raise ValueError(f"share={share} must be above 0 and at most 1")
    reached = np.sort([best_within(metric, peak, at) for metric, peak in runs], axis=0)[::-1]
    # a share such as 0.3 of 10 runs is 3 runs, though 0.3 * 10 may be a little more than 3
    return reached[max(1, math.ceil(share * len(runs) - 1e-9)) - 1]


def epsilon_indicator(
    ours: tuple[npt.ArrayLike, npt.ArrayLike],
    theirs: tuple[npt.ArrayLike, npt.ArrayLike],
    peak_unit: float,
) -> float:
    """Return the additive epsilon indicator: how far our front is from covering theirs.

    The smallest e such that every one of their points is matched by one of ours after ours has
    gained e in metric and e times `peak_unit` in memory: 0 or less where ours covers theirs, inf
    where only they have points, -inf where they have none. O(f log f).

    Args:
        ours: `(metric, peak)`.
        theirs: `(metric, peak)`.
        peak_unit: the memory that weighs as much as 1 of the metric; positive and finite.

    Raises:
        ValueError: lists are not of one length, or `peak_unit` is not positive and finite.

    Source: Zitzler, Thiele, Laumanns, Fonseca and Grunert da Fonseca, "Performance assessment of
    multiobjective optimizers", 2003.
    """
    if not (np.isfinite(peak_unit) and peak_unit > 0):
        raise ValueError(f"peak_unit={peak_unit} must be positive and finite")
    our_metrics, our_peaks = _front(*_as_points(*ours))
    their_metrics, their_peaks = _front(*_as_points(*theirs))
    if their_metrics.size == 0:
        return -np.inf
    if our_metrics.size == 0:
        return np.inf
    our_peaks, their_peaks = our_peaks / peak_unit, their_peaks / peak_unit
    # along our front the lack of metric falls and the surplus of memory grows: the larger of the
    # two is smallest where they cross, beside the place of metric + peak
    place = np.searchsorted(our_metrics + our_peaks, their_metrics + their_peaks)
    lacks = [
        np.maximum(their_metrics - our_metrics[near], our_peaks[near] - their_peaks)
        for near in (np.maximum(place - 1, 0), np.minimum(place, len(our_peaks) - 1))
    ]
    return float(np.minimum(*lacks).max())


def _by_peak_then_metric(metrics: Floats, peaks: Floats) -> npt.NDArray[np.intp]:
    """Return the order by rising peak, of equal peaks by falling metric.

    One sort of the peaks and one of the ties takes a fifth of `lexsort`'s time where ties are few.
    """
    order = np.argsort(peaks)
    is_tie = peaks[order][1:] == peaks[order][:-1]
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= is_tie
    tied[:-1] |= is_tie
    among = order[tied]
    order[tied] = among[np.lexsort((-metrics[among], peaks[among]))]
    return order


def _front(metrics: Floats, peaks: Floats) -> tuple[Floats, Floats]:
    """Return the distinct points of the front; both coordinates rise."""
    mask = non_dominated(metrics, peaks)
    peaks, first = np.unique(peaks[mask], return_index=True)
    return metrics[mask][first], peaks


def _as_points(metric: npt.ArrayLike, peak: npt.ArrayLike) -> tuple[Floats, Floats]:
    metrics = np.asarray(metric, dtype=np.float64)
    peaks = np.asarray(peak, dtype=np.float64)
    if metrics.ndim != 1 or metrics.shape != peaks.shape:
        raise ValueError(
            f"metric of shape {metrics.shape} and peak of shape {peaks.shape} must be two "
            "lists of one length"
        )
    return metrics, peaks


def _check_reference(metric: float, peak: float) -> None:
    if not (np.isfinite(metric) and np.isfinite(peak)):
        raise ValueError(f"reference ({metric}, {peak}) must be finite")
