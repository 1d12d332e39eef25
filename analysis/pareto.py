"""Pareto front and hypervolume of (metric, peak) points: metric up, peak down.

Pure numpy; knows nothing of trials, files or figures. A point with a NaN or infinite coordinate is
unknown: it dominates nothing, is never on the front and has no volume.

n points, f points on the front.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def non_dominated(metric: npt.ArrayLike, peak: npt.ArrayLike) -> Mask:
    """Return which of the n points no other point dominates, in O(n log n).

    A point dominates another if it is no worse in both coordinates and better in one, so points
    that are equal in both are kept together.

    Raises:
        ValueError: `metric` and `peak` are not of one length.
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


def front_steps(
    metric: npt.ArrayLike, peak: npt.ArrayLike, until: float | None = None
) -> tuple[Floats, Floats]:
    """Return the corners `(peak, metric)` of the best metric as a function of memory.

    2f - 1 corners for f distinct points on the front, one more where the line goes on to the
    peak `until`.

    Raises:
        ValueError: `metric` and `peak` are not of one length.
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
        ValueError: `metric` and `peak` are not of one length, or the reference is not finite.
    """
    if not (np.isfinite(reference_metric) and np.isfinite(reference_peak)):
        raise ValueError(f"reference ({reference_metric}, {reference_peak}) must be finite")
    metrics, peaks = _as_points(metric, peak)
    inside = (metrics > reference_metric) & (peaks < reference_peak)
    metrics, peaks = _front(metrics[inside], peaks[inside])
    widths = np.diff(np.r_[peaks, reference_peak])
    return float(np.sum((metrics - reference_metric) * widths[: len(metrics)]))


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
            f"metric of shape {metrics.shape} and peak of shape {peaks.shape} must be two lists "
            "of one length"
        )
    return metrics, peaks
