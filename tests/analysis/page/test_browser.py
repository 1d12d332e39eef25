"""The page in a real browser: filters, the budget's slider, copying, sorting, colours, phones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_page import filter_box, num_points, only_trials, shown_answer

from analysis.numbers.columns import is_on_front
from analysis.numbers.rerun import train_command
from analysis.numbers.seeds import sure_front
from analysis.numbers.selection import best_within
from analysis.page.report import write_report
from analysis.runs.run import Run
from analysis.sections.memory import PARTS

GB = 10**9


def test_a_filter_changes_points_front_answer_and_table(
    open_page: Any, path: Path, run: Run
) -> None:
    page = open_page(path)
    before = num_points(page)
    assert page.locator("#shown").inner_text().startswith(f"{len(run.trials)} of {len(run.trials)}")
    filter_box(page, "backbone", "resnet50").uncheck()
    small = only_trials(run, "backbone", "resnet18")
    assert page.locator("#shown").inner_text().startswith(f"{len(small.trials)} of ")
    assert 0 < num_points(page) < before
    trial, budget = shown_answer(page)
    expected = best_within(small, budget)
    assert expected is not None and trial == expected["trial_id"]
    on_front = page.evaluate(
        "document.getElementById('pareto-plot').data"
        ".find((trace) => trace.name.startsWith('on the front')).x.length"
    )
    assert on_front == is_on_front(small).sum()
    assert "resnet50" not in page.locator("#all-trials tbody").inner_text()
    page.get_by_role("button", name="Show all").click()
    assert num_points(page) == before
    assert filter_box(page, "backbone", "resnet50").is_checked()


def test_filtering_everything_out_says_so(open_page: Any, path: Path) -> None:
    page = open_page(path)
    for backbone in ("resnet18", "resnet50"):
        filter_box(page, "backbone", backbone).uncheck()
    assert "no trial is shown" in page.locator("#pareto-plot").inner_text()
    assert "no completed trial that is shown fits" in page.locator("#budget-answer").inner_text()


def test_the_slider_moves_the_answer_by_the_rules_of_best(
    open_page: Any, path: Path, run: Run
) -> None:
    page = open_page(path)
    last = int(str(page.locator("#budget").get_attribute("max")))
    seen = set()
    for place in range(0, last + 1, max(1, last // 40)):
        page.evaluate(
            "(place) => { const slider = document.getElementById('budget'); slider.value = place;"
            " slider.dispatchEvent(new Event('input')); }",
            place,
        )
        trial, budget = shown_answer(page)
        expected = best_within(run, budget)
        assert trial == ("" if expected is None else expected["trial_id"])
        seen.add(trial)
    assert len(seen) > 3


def test_the_slider_goes_by_keys_and_stops_at_every_budget(open_page: Any, path: Path) -> None:
    page = open_page(path)
    page.locator("#budget").focus()
    page.keyboard.press("Home")
    _, smallest = shown_answer(page)
    page.keyboard.press("ArrowRight")
    _, next_one = shown_answer(page)
    assert next_one > smallest
    for budget in (4, 8, 16):
        page.locator("#budget-stops").get_by_role("button", name=f"{budget}GB", exact=True).click()
        assert shown_answer(page)[1] == budget * GB
        assert page.locator("#budget-text").inner_text() == f"{budget}GB"


def test_a_command_is_copied_as_it_is_shown(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#budget-stops").get_by_role("button", name="8GB").click()
    button = page.locator("#budget-answer [data-copy]")
    button.click()
    page.locator("#budget-answer [data-copy]").filter(has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    best = best_within(run, 8 * GB)
    assert best is not None
    assert copied == train_command(run, best, 8 * GB)
    assert copied == page.locator("#budget-answer code").inner_text()


def test_another_kind_of_peak_is_drawn_and_searched(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    page.get_by_label("process (driver)").check()
    assert "process (driver)" in page.locator("#pareto-plot").inner_text()
    page.locator("#budget-stops").get_by_role("button", name="4GB").click()
    process = run.trials.assign(peak_allocated_bytes=run.trials["peak_process_bytes"])
    expected = best_within(replace(run, trials=process), 4 * GB)
    assert expected is not None and shown_answer(page)[0] == expected["trial_id"]


def test_the_table_sorts_pages_and_picks(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    first = "#all-trials tbody tr:first-child td"
    recorded = run.trials["metric"].dropna()
    assert float(str(page.locator(first).nth(3).get_attribute("data-value"))) == recorded.max()
    page.locator("#all-trials").get_by_role("button", name="accuracy").click()
    assert float(str(page.locator(first).nth(3).get_attribute("data-value"))) == recorded.min()
    assert page.locator("#all-trials th[aria-sort=ascending]").count() == 1
    assert page.locator("#all-trials tbody tr").count() == 100
    page.get_by_role("button", name="Next").click()
    assert "page 2 of 4" in page.locator("#shown").inner_text()
    trial = page.locator(first).first
    name = trial.inner_text()
    trial.get_by_role("button").click()
    assert f"trials/{name}/config.yaml" in page.locator("#picked").inner_text()


def test_a_click_on_a_point_picks_its_trial(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    front = run.trials["trial_id"][is_on_front(run)].tolist()
    page.locator("#pareto-plot").evaluate("(plot) => plot.scrollIntoView({ block: 'center' })")
    place = page.evaluate(
        "() => { const plot = document.getElementById('pareto-plot');"
        " const n = plot.data.findIndex((t) => t.name.startsWith('on the front'));"
        " const nodes = plot.querySelectorAll('.scatterlayer .trace');"
        " const box = nodes[n].querySelector('.points path').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; }"
    )
    page.mouse.move(*place)
    page.mouse.click(*place)
    picked = page.locator("#picked")
    picked.wait_for(state="visible")
    assert any(f"trials/{name}/config.yaml" in picked.inner_text() for name in front)


def test_a_view_is_kept_in_the_address(open_page: Any, path: Path) -> None:
    page = open_page(path)
    filter_box(page, "method", "patchgd").uncheck()
    page.locator("#budget-stops").get_by_role("button", name="4GB").click()
    shown, answer = page.locator("#shown").inner_text(), shown_answer(page)
    page.reload()
    page.wait_for_selector("#pareto-plot .main-svg")
    assert page.locator("#shown").inner_text() == shown
    assert shown_answer(page) == answer
    assert not filter_box(page, "method", "patchgd").is_checked()


@pytest.mark.parametrize(
    "view",
    [
        "#view=%7B",
        "#view=null",
        '#view={"hidden":5,"picked":1e9}',
        '#view={"hidden":{"method":["nothing"]},"picked":["run","nobody"]}',
        "#x",
    ],
)
def test_a_broken_address_shows_the_first_view(
    open_page: Any, path: Path, run: Run, view: str
) -> None:
    page = open_page(path, view=view)
    assert page.locator("#shown").inner_text().startswith(f"{len(run.trials)} of ")


def test_colours_follow_the_system_and_the_button(open_page: Any, path: Path) -> None:
    def background(page: Any) -> str:
        return str(page.evaluate("document.getElementById('pareto-plot').layout.paper_bgcolor"))

    page = open_page(path, scheme="dark")
    assert background(page) == "#1b2229"
    page.locator("#theme").click()
    assert background(page) == "#ffffff"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(245, 247, 250)"
    page.reload()
    page.wait_for_selector("#pareto-plot .main-svg")
    assert background(page) == "#ffffff"
    assert background(open_page(path, scheme="light")) == "#ffffff"


def test_a_phone_shows_all_without_scrolling_sideways(open_page: Any, path: Path) -> None:
    page = open_page(path, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    for plot in page.locator(".js-plotly-plot").all():
        box = plot.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 400


def test_paper_shows_whole_tables_and_no_controls(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path, width=718)  # A4 at 96 px an inch, less the margins
    page.emulate_media(media="print")
    table = page.locator("#all-trials")
    assert "Trial" in table.locator("thead").inner_text()
    names = set(run.trials["trial_id"])
    assert all(row.split()[0] in names for row in table.locator("tbody tr").all_inner_texts())
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert (
        not page.locator("#theme, #budget, .filters, [data-copy]").locator("visible=true").count()
    )


def test_a_phone_shows_every_part_of_the_memory_below_the_axis(
    open_page: Any, run: Run, tmp_path: Path
) -> None:
    best = best_within(run, None)
    assert best is not None
    page = open_page(
        write_report(only_trials(run, "trial_id", best["trial_id"]), tmp_path), width=400
    )
    figure = page.locator("[data-figures=memory]")
    title = figure.locator(".xtitle").bounding_box()
    whole = figure.bounding_box()
    boxes = [each.bounding_box() for each in figure.locator(".legendtext").all()]
    assert len(boxes) >= len(PARTS)
    for box in boxes:
        assert box["y"] >= title["y"] + title["height"]
        assert box["y"] + box["height"] <= whole["y"] + whole["height"]


def test_the_line_of_all_seeds_is_that_of_the_still_plot(
    open_page: Any, path: Path, run: Run
) -> None:
    page = open_page(path)
    drawn = page.evaluate(
        "(() => { const line = document.getElementById('pareto-plot').data"
        ".find((trace) => trace.name === 'what every seed reaches'); return [line.x, line.y]; })()"
    )
    peaks, metrics = sure_front(run, "run")
    assert drawn == [(peaks / GB).tolist(), metrics.tolist()]


def test_filters_go_by_keys(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    filter_box(page, "fusion", "concat").focus()
    page.keyboard.press("Space")
    num_hidden = (
        (run.trials["fusion"] == "concat") & (run.trials["method"] == "local_global")
    ).sum()
    expected = f"{len(run.trials) - num_hidden} of {len(run.trials)} trials"
    assert page.locator("#shown").inner_text().startswith(expected)


def test_another_address_shows_its_view(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    first = page.evaluate("location.href")
    filter_box(page, "method", "patchgd").uncheck()
    second = page.evaluate("location.href")
    page.evaluate("() => { location.hash = '#view=%7B%7D'; }")
    everything = f"{len(run.trials)} of {len(run.trials)} trials"
    page.locator("#shown").filter(has_text=everything).wait_for()
    assert filter_box(page, "method", "patchgd").is_checked()
    assert second != first


def test_the_button_of_colours_comes_round_to_the_systems(open_page: Any, path: Path) -> None:
    page = open_page(path)
    shown = []
    for _ in range(4):
        shown.append(page.locator("#theme").inner_text())
        page.locator("#theme").click()
    assert shown == ["Auto", "Dark", "Light", "Auto"]
