"""What the search cost and brought: hypervolume along it, outcomes, hours."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from analysis.pareto import hypervolume
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.sections.hypervolume import (
    MOST_CORNERS,
    Path,
    Reference,
    growth_chart,
    hypervolume_paths,
    reference_of,
)
from patchtrain.record import TrialStatus

GB = 10**9


NOON = datetime(2025, 1, 2, 12, tzinfo=timezone.utc)


def _times(start_h: float, end_h: float) -> dict[str, Any]:
    return {
        "started_at": NOON + timedelta(hours=start_h),
        "finished_at": NOON + timedelta(hours=end_h),
    }


def test_the_reference_is_metric_0_at_the_largest_budget(write_run: Any, trial: Any) -> None:
    trials = [trial("a"), trial("b", budget_bytes=4 * GB)]
    reference = reference_of(load_run(write_run(trials)))
    assert reference is not None
    assert (reference.metric, reference.peak_bytes) == (0.0, 4 * GB)


def test_without_a_budget_the_largest_peak_is_the_reference(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", budget_bytes=None),
        trial("b", budget_bytes=None, peak_allocated_bytes=3 * GB),
    ]
    reference = reference_of(load_run(write_run(trials)))
    assert reference is not None and reference.peak_bytes == 3 * GB


def test_a_run_without_a_result_has_no_reference_and_no_path(write_run: Any, trial: Any) -> None:
    run = load_run(write_run([trial("a", status=TrialStatus.OUT_OF_MEMORY)]))
    assert reference_of(run) is None
    assert hypervolume_paths(run) == ()


def test_the_path_follows_the_order_in_which_trials_ended(write_run: Any, trial: Any) -> None:
    trials = [
        trial(
            "last", metric=0.75, peak_allocated_bytes=2 * GB, budget_bytes=4 * GB, **_times(0, 5)
        ),
        trial("first", metric=0.5, peak_allocated_bytes=GB, **_times(0, 1)),
        trial("oom", status=TrialStatus.OUT_OF_MEMORY, metric=None, **_times(1, 1.5)),
        trial("refused", status=TrialStatus.PREDICTED_INFEASIBLE, metric=None),
        trial("stopped", status=TrialStatus.STOPPED_EARLY, metric=0.9, **_times(1, 2)),
    ]
    (path,) = hypervolume_paths(load_run(write_run(trials)))
    assert path.num_trials == (1, 2, 3, 4)
    assert path.values == pytest.approx((1.5, 1.5, 1.5, 0.5 + 0.75 * 2))
    assert path.hours == pytest.approx((1.0, 1.5, 2.5, 7.5))


def test_hours_end_where_a_time_is_not_known(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", **_times(0, 1)),
        trial("b", started_at=None, finished_at=None, train_time_s=1800.0),
        trial("c", started_at=None, finished_at=None, train_time_s=None),
    ]
    (path,) = hypervolume_paths(load_run(write_run(trials)))
    assert path.hours == (1.0, 1.5, None)


def test_joined_runs_are_measured_from_one_reference(write_run: Any, trial: Any) -> None:
    first = load_run(write_run([trial("a")], name="first"))
    second = load_run(write_run([trial("a", budget_bytes=4 * GB)], name="second"))
    paths = hypervolume_paths(join_runs([first, second]))
    assert [path.values for path in paths] == [(1.5,), (1.5,)]  # 0.5 from 1 to 4 GB


def test_the_last_value_of_a_path_is_the_hypervolume_of_the_front(
    write_run: Any, mixed_trials: Any
) -> None:
    run = load_run(write_run(mixed_trials))
    (path,) = hypervolume_paths(run)
    metric = [0.5, 0.45, 0.6180339887, 0.71234567891, 0.7]
    peak = np.array([400_000_001, 700_000_000, 900_000_000, 1_900_000_123, 1_950_000_000])
    assert path.values[-1] == pytest.approx(hypervolume(metric, peak / GB, 0.0, 2.0))


def test_metrics_below_0_are_measured_from_the_worst(write_run: Any, trial: Any) -> None:
    trials = [trial("a", metric=-0.5), trial("b", metric=-2.0, peak_allocated_bytes=GB // 2)]
    run = load_run(write_run(trials))
    reference = reference_of(run)
    assert reference is not None and reference.is_of_results
    assert (reference.metric, reference.peak_bytes) == (-2.0, 2 * GB)
    (path,) = hypervolume_paths(run)
    assert path.values[-1] == pytest.approx(1.5 * 1.0)


def test_a_long_hypervolume_line_is_thinned_and_keeps_its_ends() -> None:
    num = 50_001
    path = Path(
        run="r",
        num_trials=tuple(range(1, num + 1)),
        hours=(None,) * num,
        values=tuple(float(value) for value in range(num)),
    )
    (panel,) = growth_chart((path,), Reference(metric=0, peak_bytes=GB), "accuracy").panels
    (line,) = panel.series
    assert len(line.x) <= MOST_CORNERS + 1
    assert (line.x[0], line.x[-1], line.y[-1]) == (1, num, num - 1)
