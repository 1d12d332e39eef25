"""What the figures show, compared as data; the drawings are only checked to be valid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from made_up_run import write_made_up_run

from analysis.charts import DARK, LIGHT, Bars
from analysis.draw_matplotlib import draw_matplotlib
from analysis.draw_plotly import draw_plotly, plotly_text
from analysis.figures.curves import MOST_CURVES, curves_chart, curves_info
from analysis.figures.growth import MOST_CORNERS, growth_chart
from analysis.figures.marginals import marginals
from analysis.figures.pareto import Kind, pareto_chart, pareto_info
from analysis.findings import Findings
from analysis.load import join_runs, load_run
from analysis.progress import Path, Reference
from patchtrain.record import TrialStatus

GB = 10**9


def _painted(value: Any, palette: Any) -> Any:
    """Put colours in place of their names, as the page's script does."""
    if isinstance(value, list):
        return [_painted(item, palette) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: palette[item[1:]]
        if key.endswith("color") and isinstance(item, str) and item.startswith("@")
        else _painted(item, palette)
        for key, item in value.items()
    }


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


def test_curves_are_the_epochs_as_recorded_and_name_the_best(
    write_run: Any, mixed_trials: Any
) -> None:
    info = curves_info(load_run(write_run(mixed_trials)))
    curves = {curve.trial_id: curve for curve in info.curves}
    assert set(curves) == {"t1", "t2", "t3", "t4", "t5"}
    assert curves["t4"].epochs == (1, 2, 3)
    assert curves["t4"].metrics == tuple(0.71234567891 * epoch / 3 for epoch in (1, 2, 3))
    assert {c.trial_id: c.label for c in info.curves if c.label} == {
        "t3": "best in 1GB",
        "t4": "best in 2GB",
    }


def test_one_trial_best_in_two_budgets_has_one_curve(write_run: Any, trial: Any) -> None:
    sweep = {"budgets_bytes": [2 * GB, 4 * GB]}
    info = curves_info(load_run(write_run([trial("a")], sweep=sweep)))
    assert [curve.label for curve in info.curves] == ["best in 2GB, 4GB"]


def test_plotly_text_shows_markup_as_text() -> None:
    shown = plotly_text("<b>x</b>\n<a href='javascript:1'>&amp;\x00")
    assert shown == "&lt;b&gt;x&lt;/b&gt; &lt;a href='javascript:1'&gt;&amp;amp;"
    assert len(plotly_text("x" * 1000)) == 300


RUNS: dict[str, list[dict[str, Any]]] = {
    "no trial": [],
    "one trial": [{}],
    "all the same": [{}, {}, {}],
    "no budget": [{"budget_bytes": None}, {"budget_bytes": None, "peak_allocated_bytes": 2 * GB}],
    "all out of memory": [{"status": TrialStatus.OUT_OF_MEMORY, "metric": None}] * 2,
    "nothing measured": [{"metric": None, "peak_allocated_bytes": None}],
    "absurd": [{"metric": -1.7e308}, {"metric": 1.7e308, "peak_allocated_bytes": 2**62}],
    "failed": [{"status": TrialStatus.FAILED, "metric": None}],
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("dataset", ["panda", "my_slides"])
def test_any_run_makes_valid_figures(write_run: Any, trial: Any, kind: str, dataset: str) -> None:
    trials = [trial(f"t{i}", dataset=dataset, **each) for i, each in enumerate(RUNS[kind])]
    for chart in Findings(load_run(write_run(trials))).charts().values():
        _check_drawings(chart)


def test_a_whole_run_makes_valid_figures(tmp_path: Any) -> None:
    charts = Findings(load_run(write_made_up_run(tmp_path, 60))).charts()
    assert not any(chart.is_empty for chart in charts.values() if chart.name != "fusion")
    for chart in charts.values():
        _check_drawings(chart)


def _check_drawings(chart: Any) -> None:
    for figure in draw_plotly(chart):
        for palette in (LIGHT, DARK):
            drawn = go.Figure(_painted(figure, palette))  # refuses unknown properties and colours
            assert len(drawn.data) == len(figure["data"])
    if not chart.is_empty or chart.name == "pareto":
        still = draw_matplotlib(chart, "title with a $ and a \\frac{")
        still.canvas.draw()
        assert len(still.axes) >= len(chart.panels)


def test_still_plot_shows_the_same_points(write_run: Any, mixed_trials: Any) -> None:
    info = _info(write_run, mixed_trials)
    axes, strip = draw_matplotlib(pareto_chart(info), "title").axes
    drawn = np.concatenate([c.get_offsets() for c in axes.collections + strip.collections])
    peaks = sorted(point.peak_bytes for point in info.points)
    reference = sorted(point.peak_bytes for point in info.reference)
    assert sorted(drawn[:, 0] * GB) == pytest.approx(sorted(peaks + reference))


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


def test_curves_of_many_trials_are_thinned_but_keep_the_best(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 600, num_repeated=0))
    info = curves_info(run)
    num_with_epochs = run.epochs["trial_id"].nunique()
    assert len(info.curves) == MOST_CURVES
    assert info.num_left_out == num_with_epochs - MOST_CURVES
    assert [curve.label for curve in info.curves if curve.label] != []
    assert "trial" in curves_chart(info).panels[0].series[0].hover[0]


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


def test_marginals_are_quartiles_of_what_reads_the_setting(write_run: Any, trial: Any) -> None:
    trials = [
        trial(f"t{i}", patch_size=64, metric=i / 10, peak_allocated_bytes=10 + i) for i in range(5)
    ]
    trials += [
        trial("big", patch_size=128, metric=0.9),
        trial("full", method="full", patch_size=256),
    ]
    (patch_size,) = marginals(load_run(write_run(trials)))
    first, second = patch_size.levels
    assert (first.label, first.num_trials, first.median, first.best) == ("64", 5, 0.2, 0.4)
    assert first.quartiles == pytest.approx((0.1, 0.3))
    assert first.median_peak_bytes == 12
    assert (second.label, second.best) == ("128", 0.9)


def test_settings_of_many_values_are_cut_into_parts(write_run: Any, trial: Any) -> None:
    trials = [trial(f"t{i}", sampling_rate=0.01 * (i + 1), metric=0.1) for i in range(60)]
    (rate,) = marginals(load_run(write_run(trials)))
    assert [level.num_trials for level in rate.levels] == [10] * 6
    assert rate.levels[0].label == "0.01\N{EN DASH}0.1"


def test_bars_of_the_memory_add_up_to_the_peak(tmp_path: Any) -> None:
    run = load_run(write_made_up_run(tmp_path, 60))
    (panel,) = Findings(run).charts()["memory"].panels
    assert all(isinstance(each, Bars) for each in panel.series)
    recorded = dict(zip(run.trials["trial_id"], run.trials["peak_allocated_bytes"], strict=True))
    for place, category in enumerate(panel.y.categories):
        total = sum(bars.lengths[place] for bars in panel.series)
        assert total * GB == pytest.approx(recorded[category.split(":")[0]])
