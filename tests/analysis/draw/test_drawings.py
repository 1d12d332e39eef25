"""Drawings of charts: checked to be valid, with the same points in page and file."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from made_up_run import write_made_up_run
from report_parts import charts_of

from analysis.draw.charts import DARK, LIGHT
from analysis.draw.matplotlib import draw_matplotlib
from analysis.draw.plotly import draw_plotly, plotly_text
from analysis.runs.load import load_run
from analysis.sections.pareto import pareto_chart, pareto_info
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
    for chart in charts_of(load_run(write_run(trials))).values():
        _check_drawings(chart)


def test_a_whole_run_makes_valid_figures(tmp_path: Any) -> None:
    charts = charts_of(load_run(write_made_up_run(tmp_path, 60)))
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
    info = pareto_info(load_run(write_run(mixed_trials)))
    axes, strip = draw_matplotlib(pareto_chart(info), "title").axes
    drawn = np.concatenate([c.get_offsets() for c in axes.collections + strip.collections])
    peaks = sorted(point.peak_bytes for point in info.points)
    reference = sorted(point.peak_bytes for point in info.reference)
    assert sorted(drawn[:, 0] * GB) == pytest.approx(sorted(peaks + reference))
