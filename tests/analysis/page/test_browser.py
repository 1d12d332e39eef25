"""The page in a real browser: filters, the budget's slider, copying, sorting, colours, phones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_run import write_made_up_run

from analysis.numbers.columns import is_on_front
from analysis.numbers.rerun import train_command
from analysis.numbers.seeds import sure_front
from analysis.numbers.selection import best_within
from analysis.page.report import write_report
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import Run
from analysis.sections.memory import PARTS
from patchtrain.record import TrialStatus

GB = 10**9
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium that is installed on this machine."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(BROWSERS)})")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 300 made-up trials."""
    return load_run(write_made_up_run(tmp_path_factory.mktemp("browser") / "run", 300))


@pytest.fixture(scope="module")
def path(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    return write_report(run, tmp_path_factory.mktemp("page"))


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a page from disk; any error of its script, and any request, fails the test."""
    contexts, problems = [], []

    def open_(path: Path, *, width: int = 1400, scheme: str = "light", view: str = "") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.on(
            "console",
            lambda message: problems.append(message.text) if message.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:"))
                else problems.append(request.url)
            ),
        )
        page.goto(path.as_uri() + view)
        page.wait_for_selector("#pareto-plot .main-svg")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def _only(run: Run, column: str, value: Any) -> Run:
    return replace(run, trials=run.trials[(run.trials[column] == value).to_numpy(dtype=bool)])


def _answer(page: Any) -> tuple[str, int]:
    place = page.locator("#budget-answer")
    return str(place.get_attribute("data-trial")), int(str(place.get_attribute("data-budget")))


def _num_points(page: Any) -> int:
    return int(page.evaluate("document.querySelectorAll('#pareto-plot .points path').length"))


def _filter(page: Any, name: str, label: str) -> Any:
    return page.locator(f"fieldset[data-filter={name}]").get_by_label(label, exact=True)


def test_a_filter_changes_points_front_answer_and_table(
    open_page: Any, path: Path, run: Run
) -> None:
    page = open_page(path)
    before = _num_points(page)
    assert page.locator("#shown").inner_text().startswith(f"{len(run.trials)} of {len(run.trials)}")
    _filter(page, "backbone", "resnet50").uncheck()
    small = _only(run, "backbone", "resnet18")
    assert page.locator("#shown").inner_text().startswith(f"{len(small.trials)} of ")
    assert 0 < _num_points(page) < before
    trial, budget = _answer(page)
    expected = best_within(small, budget)
    assert expected is not None and trial == expected["trial_id"]
    on_front = page.evaluate(
        "document.getElementById('pareto-plot').data"
        ".find((trace) => trace.name.startsWith('on the front')).x.length"
    )
    assert on_front == is_on_front(small).sum()
    assert "resnet50" not in page.locator("#all-trials tbody").inner_text()
    page.get_by_role("button", name="Show all").click()
    assert _num_points(page) == before
    assert _filter(page, "backbone", "resnet50").is_checked()


def test_filtering_everything_out_says_so(open_page: Any, path: Path) -> None:
    page = open_page(path)
    for backbone in ("resnet18", "resnet50"):
        _filter(page, "backbone", backbone).uncheck()
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
        trial, budget = _answer(page)
        expected = best_within(run, budget)
        assert trial == ("" if expected is None else expected["trial_id"])
        seen.add(trial)
    assert len(seen) > 3


def test_the_slider_goes_by_keys_and_stops_at_every_budget(open_page: Any, path: Path) -> None:
    page = open_page(path)
    page.locator("#budget").focus()
    page.keyboard.press("Home")
    _, smallest = _answer(page)
    page.keyboard.press("ArrowRight")
    _, next_one = _answer(page)
    assert next_one > smallest
    for budget in (4, 8, 16):
        page.locator("#budget-stops").get_by_role("button", name=f"{budget}GB", exact=True).click()
        assert _answer(page)[1] == budget * GB
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
    assert expected is not None and _answer(page)[0] == expected["trial_id"]


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
    _filter(page, "method", "patchgd").uncheck()
    page.locator("#budget-stops").get_by_role("button", name="4GB").click()
    shown, answer = page.locator("#shown").inner_text(), _answer(page)
    page.reload()
    page.wait_for_selector("#pareto-plot .main-svg")
    assert page.locator("#shown").inner_text() == shown
    assert _answer(page) == answer
    assert not _filter(page, "method", "patchgd").is_checked()


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


def test_a_phone_shows_every_part_of_the_memory_below_the_axis(
    open_page: Any, run: Run, tmp_path: Path
) -> None:
    best = best_within(run, None)
    assert best is not None
    page = open_page(write_report(_only(run, "trial_id", best["trial_id"]), tmp_path), width=400)
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
    _filter(page, "fusion", "concat").focus()
    page.keyboard.press("Space")
    num_hidden = (
        (run.trials["fusion"] == "concat") & (run.trials["method"] == "local_global")
    ).sum()
    expected = f"{len(run.trials) - num_hidden} of {len(run.trials)} trials"
    assert page.locator("#shown").inner_text().startswith(expected)


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
    _filter(page, "method", "patchgd").uncheck()
    page.locator("#all-trials").get_by_role("button", name="b", exact=True).click()
    more = [trial("a", method="full"), *first]
    write_report(load_run(write_run(more)), tmp_path / "out")
    page.reload()
    page.wait_for_selector("#pareto-plot .main-svg")
    assert not _filter(page, "method", "patchgd").is_checked()
    assert _filter(page, "method", "full").is_checked()
    assert "trial b" in page.locator("#picked").inner_text()


def test_another_address_shows_its_view(open_page: Any, path: Path, run: Run) -> None:
    page = open_page(path)
    first = page.evaluate("location.href")
    _filter(page, "method", "patchgd").uncheck()
    second = page.evaluate("location.href")
    page.evaluate("() => { location.hash = '#view=%7B%7D'; }")
    everything = f"{len(run.trials)} of {len(run.trials)} trials"
    page.locator("#shown").filter(has_text=everything).wait_for()
    assert _filter(page, "method", "patchgd").is_checked()
    assert second != first


def test_the_button_of_colours_comes_round_to_the_systems(open_page: Any, path: Path) -> None:
    page = open_page(path)
    shown = []
    for _ in range(4):
        shown.append(page.locator("#theme").inner_text())
        page.locator("#theme").click()
    assert shown == ["Auto", "Dark", "Light", "Auto"]


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
    assert _answer(page)[0] == "a"
