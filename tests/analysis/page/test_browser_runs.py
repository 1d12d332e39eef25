"""Pages of odd runs in a real browser: hostile texts, edge cases, several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_run import write_made_up_run
from report_page import filter_box, shown_answer

from analysis.numbers.columns import is_on_front
from analysis.numbers.rerun import train_command
from analysis.numbers.selection import best_within
from analysis.page.report import write_report
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from patchtrain.record import TrialStatus

GB = 10**9


HOSTILE = (
    "</script><script>alert(1)</script>\"'<img src=x onerror=alert(1)>\n{{ 7*7 }}%{x}$&lt;b&gt;"
)


def test_hostile_texts_are_shown_as_text(
    open_page: Any, write_run: Any, trial: Any, tmp_path: Path
) -> None:
    failed = {"status": TrialStatus.FAILED, "metric": None}
    run = load_run(
        write_run(
            [
                trial(f"a{HOSTILE}", backbone=HOSTILE, metric_name=HOSTILE),
                trial("b", error=HOSTILE, metric_name=HOSTILE, **failed),
                trial(f"c{HOSTILE}", metric=0.4, peak_allocated_bytes=GB // 2, metric_name=HOSTILE),
            ],
            sweep={"sweep": HOSTILE, "command": HOSTILE},
        )
    )
    page = open_page(write_report(run, tmp_path / "out"))
    best = run.trials.iloc[0]
    assert page.locator("#budget-answer code").inner_text() == train_command(
        run, best.to_dict(), 2 * GB
    )
    assert page.locator("#all-trials td.error").nth(2).text_content() == HOSTILE
    assert page.locator("h1").text_content().startswith(HOSTILE)
    page.locator("#all-trials").get_by_role("button", name="b", exact=True).click()
    assert page.locator("#picked p").nth(1).text_content() == HOSTILE
    assert page.locator("img").count() == 0


EDGES: dict[str, list[dict[str, Any]]] = {
    "one trial": [{}],
    "all out of memory": [{"status": TrialStatus.OUT_OF_MEMORY, "metric": None}] * 2,
    "all the same": [{}, {}, {}],
    "not a number": [{"metric": float("nan")}, {}],
    "no budget": [{"budget_bytes": None}],
    "far apart": [{}, {"peak_allocated_bytes": 1000, "metric": -5.0}],
}


@pytest.mark.parametrize("kind", EDGES)
def test_any_run_makes_a_page_that_works(
    open_page: Any, write_run: Any, trial: Any, tmp_path: Path, kind: str
) -> None:
    trials = [trial(f"t{i}", dataset="mine", **each) for i, each in enumerate(EDGES[kind])]
    page = open_page(write_report(load_run(write_run(trials)), tmp_path / "out"))
    assert page.locator("#shown").inner_text() == f"{len(trials)} of {len(trials)} trials"


def test_a_view_means_the_same_after_the_sweep_went_on(
    open_page: Any, write_run: Any, trial: Any, tmp_path: Path
) -> None:
    first = [trial("b", method="tiled"), trial("c", method="patchgd", metric=0.6)]
    page = open_page(write_report(load_run(write_run(first)), tmp_path / "out"))
    filter_box(page, "method", "patchgd").uncheck()
    page.locator("#all-trials").get_by_role("button", name="b", exact=True).click()
    more = [trial("a", method="full"), *first]
    write_report(load_run(write_run(more)), tmp_path / "out")
    page.reload()
    page.wait_for_selector("#pareto-plot .main-svg")
    assert not filter_box(page, "method", "patchgd").is_checked()
    assert filter_box(page, "method", "full").is_checked()
    assert "trial b" in page.locator("#picked").inner_text()


def test_runs_over_each_other_have_the_front_of_the_tables(open_page: Any, tmp_path: Path) -> None:
    runs = [
        load_run(write_made_up_run(tmp_path / name, 40, seed=seed))
        for seed, name in enumerate(("one", "a@trial_id@b"))
    ]
    run = join_runs(runs)
    page = open_page(write_report(run, tmp_path / "out"))
    drawn = page.evaluate(
        "document.getElementById('pareto-plot').data"
        ".filter((t) => t.name.includes(': on the front'))"
        ".map((t) => t.x.map((x, i) => [x, t.y[i]])).flat()"
    )
    front = run.trials[is_on_front(run)]
    peaks = (front["peak_allocated_bytes"] / GB).tolist()
    expected = [list(point) for point in zip(peaks, front["metric"], strict=True)]
    assert sorted(drawn) == sorted(expected)
    page.locator("#budget-stops").get_by_role("button", name="16GB").click()
    best = best_within(run, 16 * GB)
    assert best is not None
    assert page.locator("#budget-answer code").inner_text() == train_command(run, best, 16 * GB)
    places = page.locator("#all-trials").get_by_role("button", name="Run", exact=True)
    assert places.count() == 1
    headings = page.locator("table[data-table=memory] th").all_inner_texts()
    assert headings[:3] == ["Run", "Trial", "Most of it, and what lowers it"]


def test_a_repeat_over_its_budget_is_drawn_and_never_best(
    open_page: Any, write_run: Any, trial: Any, tmp_path: Path
) -> None:
    over = {"metric": 0.9, "peak_allocated_bytes": 3 * GB}
    trials = [trial("a", group="a"), trial("a-s1", group="a", seed=1, **over)]
    page = open_page(write_report(load_run(write_run(trials)), tmp_path / "out"))
    assert "completed over its budget (1)" in page.locator("#pareto-plot").inner_text()
    page.locator("#budget").focus()
    page.keyboard.press("End")
    assert shown_answer(page)[0] == "a"
