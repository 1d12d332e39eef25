"""A report's page as a browser would see it: parsed from its HTML, or opened in Chromium."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from analysis.page.report import write_report
from analysis.runs.load import load_run
from analysis.runs.run import Run


class Page(HTMLParser):
    """What a browser would see of the page: elements, tables, text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.values: list[str] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self._in_cell = False
        self._table = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.elements.append((tag, found))
        if tag == "script":
            self._script = found.get("id") or f"script {len(self.scripts)}"
            self.scripts[self._script] = ""
        elif tag == "table":
            self._table = found.get("data-table") or str(found.get("id"))
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append(("", None))
            self._in_cell = True
        elif tag == "data":
            self.values.append(str(found["value"]))
            if self._in_cell:
                self.tables[self._table][-1][-1] = ("", found["value"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data
            return
        self.text += data
        if self._in_cell:
            row = self.tables[self._table][-1]
            row[-1] = (row[-1][0] + data, row[-1][1])

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def report_page(run_dir: Path) -> Page:
    return Page(write_report(load_run(run_dir), run_dir))


def data_of(page: Page, name: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(page.scripts[name], parse_constant=refuse)


def only_trials(run: Run, column: str, value: Any) -> Run:
    return replace(run, trials=run.trials[(run.trials[column] == value).to_numpy(dtype=bool)])


def shown_answer(page: Any) -> tuple[str, int]:
    place = page.locator("#budget-answer")
    return str(place.get_attribute("data-trial")), int(str(place.get_attribute("data-budget")))


def num_points(page: Any) -> int:
    return int(page.evaluate("document.querySelectorAll('#pareto-plot .points path').length"))


def filter_box(page: Any, name: str, label: str) -> Any:
    return page.locator(f"fieldset[data-filter={name}]").get_by_label(label, exact=True)
