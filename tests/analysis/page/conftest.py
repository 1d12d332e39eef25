"""A made-up run, its page, and a browser to open it in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_run import write_made_up_run

from analysis.page.report import write_report
from analysis.runs.load import load_run
from analysis.runs.run import Run

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
