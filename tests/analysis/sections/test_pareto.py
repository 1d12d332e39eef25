"""What the figures show, compared as data; the drawings are only checked to be valid."""

from __future__ import annotations

import math
from typing import Any

import pytest
from report_parts import tables_of

from analysis.draw.plotly import draw_plotly
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.sections.kinds import Kind
from analysis.sections.pareto import pareto_chart, pareto_info
from patchtrain.record import TrialStatus

GB = 10**9


def _info(write_run: Any, trials: Any, **more: Any) -> Any:
    return pareto_info(load_run(write_run(trials, **more)))


def test_every_trial_is_marked_by_how_it_ended(write_run: Any, mixed_trials: Any) -> None:
    info = _info(write_run, mixed_trials)
    assert {point.trial_id: point.kind for point in info.points} == {
        "t1": Kind.FRONT,
        "t2": Kind.DOMINATED,
        "t3": Kind.FRONT,
        "t4": Kind.FRONT,
        "t5": Kind.DOMINATED,
        "t6": Kind.OUT_OF_MEMORY,
        "t7": Kind.PREDICTED,
        "t8": Kind.STOPPED_EARLY,
    }
    assert info.num_failed == 1
    assert info.num_not_drawn == 0


def test_points_stand_at_the_recorded_peak_and_metric(write_run: Any, mixed_trials: Any) -> None:
    info = _info(write_run, mixed_trials)
    placed = {point.trial_id: (point.peak_bytes, point.metric) for point in info.points}
    assert placed["t4"] == (1_900_000_123, 0.71234567891)
    assert placed["t6"] == (1_990_000_000, None)
    assert placed["t7"] == (2_600_000_000, None)  # the prediction: it never ran


def test_the_step_line_runs_along_the_front_to_the_largest_budget(
    write_run: Any, mixed_trials: Any
) -> None:
    info = _info(write_run, mixed_trials)
    (steps,) = info.steps
    corners = list(zip(steps.peaks_bytes, steps.metrics, strict=True))
    assert corners == [
        (400_000_001, 0.5),
        (900_000_000, 0.5),
        (900_000_000, 0.6180339887),
        (1_900_000_123, 0.6180339887),
        (1_900_000_123, 0.71234567891),
        (2 * GB, 0.71234567891),
    ]
    assert info.budgets_bytes == (GB, 2 * GB)


def test_a_completed_trial_over_its_budget_is_marked(write_run: Any, trial: Any) -> None:
    info = _info(write_run, [trial("a", peak_allocated_bytes=3 * GB, budget_bytes=2 * GB)])
    (point,) = info.points
    assert point.kind is Kind.OVER_BUDGET
    assert point.on_front


def test_papers_points_need_the_papers_data_and_no_sample(write_run: Any, trial: Any) -> None:
    assert len(_info(write_run, [trial("a")], name="real").reference) == 8
    assert not _info(write_run, [trial("a", data_is_sample=True)], name="sample").reference
    assert not _info(write_run, [trial("a", dataset="my_slides")], name="other").reference
    assert not _info(write_run, [trial("a", metric_name="kappa")], name="kappa").reference


def test_papers_points_without_a_peak_are_left_out(write_run: Any, trial: Any) -> None:
    assert len(_info(write_run, [trial("a", dataset="ultramnist")]).reference) == 4


def test_trials_without_a_place_are_counted(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a"),
        trial("nan", metric=float("nan")),
        trial("no_peak", peak_allocated_bytes=None),
        trial("negative", peak_allocated_bytes=-5),
        trial("oom", status=TrialStatus.OUT_OF_MEMORY, peak_allocated_bytes=None),
    ]
    info = _info(write_run, trials)
    assert [point.trial_id for point in info.points] == ["a"]
    assert info.num_not_drawn == 4


def test_far_apart_peaks_are_drawn_on_a_log_axis(write_run: Any, trial: Any) -> None:
    near = [trial("a", dataset="my_slides")]
    far = [*near, trial("b", dataset="my_slides", peak_allocated_bytes=20_000_000)]
    assert not _info(write_run, near, name="near").log_axis
    info = _info(write_run, far, name="far")
    assert info.log_axis
    assert info.log_ticks == (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
    (panel,) = pareto_chart(info).panels
    assert panel.x.log
    assert panel.x.ticks == info.log_ticks
    assert panel.rules[0].at == 2
    # a range on a log axis is given by logarithms, lines at the value
    layout = draw_plotly(pareto_chart(info))[0]["layout"]
    assert layout["xaxis"]["range"] == pytest.approx([math.log10(e) for e in panel.x.range or ()])
    assert layout["shapes"][0]["x0"] == 2


def test_one_value_is_given_some_air(write_run: Any, trial: Any) -> None:
    info = _info(write_run, [trial("a", dataset="my_slides", metric=0.4)])
    assert info.range_metric == pytest.approx((0.38, 0.42))


def test_legend_counts_points_that_may_lie_on_each_other(write_run: Any, trial: Any) -> None:
    status = TrialStatus.OUT_OF_MEMORY
    info = _info(write_run, [trial(name, status=status, metric=None) for name in "abc"])
    assert pareto_chart(info).panels[1].series[0].label == "out of memory (3)"


def test_labels_of_near_budgets_do_not_share_a_row(write_run: Any, trial: Any) -> None:
    sweep = {"budgets_bytes": [GB, 1_050_000_000, 1_100_000_000, 8 * GB]}
    info = _info(write_run, [trial("a", dataset="x", budget_bytes=GB)], sweep=sweep)
    assert info.budget_levels == (0, 1, 2, 0)


def test_small_runs_are_drawn_in_megabytes(write_run: Any, trial: Any) -> None:
    tiny = trial("a", dataset="x", budget_bytes=80_000_000, peak_allocated_bytes=60_000_000)
    info = _info(write_run, [tiny])
    assert (info.unit, info.unit_bytes) == ("MB", 10**6)
    front = pareto_chart(info).panels[0].series[1]
    assert front.x == [60.0]


def test_a_replicate_is_no_point_of_the_search(write_run: Any, trial: Any) -> None:
    run = load_run(
        write_run(
            [
                trial("a", metric=0.5, group="a"),
                trial("a-s1", metric=0.9, group="a", seed=1),
                trial("b", metric=0.4, group=None),
            ]
        )
    )
    kinds = {point.trial_id: point.kind for point in pareto_info(run).points}
    assert kinds == {"a": Kind.FRONT, "a-s1": Kind.REPLICATE, "b": Kind.DOMINATED}


def test_runs_that_are_laid_over_each_other_have_a_line_and_a_colour_each(
    write_run: Any, trial: Any
) -> None:
    first = load_run(write_run([trial("a"), trial("b", metric=0.4)], name="first"))
    second = load_run(write_run([trial("a", metric=0.9), trial("c", metric=0.1)], name="second"))
    info = pareto_info(join_runs([first, second]))
    assert [(steps.run, steps.metrics[0]) for steps in info.steps] == [
        ("first", 0.5),
        ("second", 0.9),
    ]
    series = {each.label: each for each in pareto_chart(info).panels[0].series}
    # one front over all runs, as in every table
    assert series["first: completed, not on the front (2)"].mark.colour == "front"
    assert series["second: completed, not on the front (1)"].mark.colour == "over"
    assert series["second: on the front (1)"].mark.colour == "over"


def test_seeds_are_drawn_as_intervals(write_run: Any, trial: Any) -> None:
    trials = [trial("a", group="a"), trial("a-s1", group="a", seed=1, metric=0.7), trial("b")]
    info = _info(write_run, [*trials, trial("c", metric=0.6, peak_allocated_bytes=GB + 1)])
    front = next(s for s in pareto_chart(info).panels[0].series if s.label.startswith("on the"))
    assert {
        (y, low, high) for y, low, high in zip(front.y, front.low, front.high, strict=True)
    } == {
        (0.5, 0.5, 0.7),
        (0.5, None, None),
        (0.6, None, None),
    }


def test_the_front_table_lists_the_front_by_peak(write_run: Any, mixed_trials: Any) -> None:
    front = tables_of(load_run(write_run(mixed_trials)))["front"]
    assert [row[-1].text for row in front.rows] == ["t1", "t3", "t4"]
    assert [row[0].value for row in front.rows] == [400_000_001, 900_000_000, 1_900_000_123]
