"""The contract of a section: a new one is one file and one name in the list."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from report_page import Page, data_of

import analysis.sections
from analysis.page.export import exported
from analysis.page.report import write_report
from analysis.runs.load import load_run
from analysis.sections import ORDER, load_sections
from analysis.sections.section import Section, Text

# what somebody who adds a figure would write, and nothing else
NEW_SECTION = '''
"""Training time by trial."""

from analysis.draw.charts import Axis, Bars, Chart, Panel
from analysis.draw.tables import Cell, Column, Table, plain_cell, text_column
from analysis.sections.section import Figure, Listing, Section, Text


def times(run):
    return {row["trial_id"]: row["train_time_s"] for row in run.rows if row["train_time_s"]}


def times_chart(found):
    bars = Bars(label="training s", lengths=list(found.values()), colour="front")
    panel = Panel(
        x=Axis(title="training s"),
        y=Axis(title="", categories=tuple(found)),
        series=(bars,) if found else (),
    )
    return Chart(name="times", title="Training time", panels=(panel,))


def times_table(found):
    return Table(
        name="times",
        title="Training time",
        columns=(text_column("Trial"), Column("Training s")),
        rows=tuple((Cell(name), plain_cell(seconds)) for name, seconds in found.items()),
    )


def _build(run):
    found = times(run)
    if not found:
        return [Text(text="No time is recorded.", look="muted")]
    return [
        Text(text=f"{len(found)} trials have a <time>."),
        Figure(chart=times_chart(found), label="Training time by trial"),
        Listing(table=times_table(found), folded="As a table"),
    ]


SECTION = Section(name="times", heading="Time to train {metric}", build=_build)
'''


@pytest.fixture
def sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Section, ...]:
    """The sections of a package into which one file was put, and one name into its list."""
    folder = tmp_path / "more_sections"
    folder.mkdir()
    (folder / "times.py").write_text(NEW_SECTION)
    paths = [*analysis.sections.__path__, str(folder)]
    monkeypatch.setattr(analysis.sections, "__path__", paths)
    return load_sections((*ORDER[:3], "times", *ORDER[3:]))


def test_a_new_section_is_on_the_page(
    sections: Any, write_run: Any, mixed_trials: Any, tmp_path: Path
) -> None:
    run = load_run(write_run(mixed_trials))
    page = Page(write_report(run, tmp_path / "out", sections=sections))
    assert [text for text, _ in page.tables["times"][1]] == ["t1", "12.5"]
    assert "9 trials have a <time>." in page.text
    (figure,) = data_of(page, "figures")["times"]
    assert figure["data"][0]["x"] == [12.5] * 9
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    places = [links.index(f"#{name}") for name in ("hypervolume", "times", "importance")]
    assert places == sorted(places)
    assert "Time to train accuracy" in page.text


def test_a_new_section_is_exported(sections: Any, write_run: Any, mixed_trials: Any) -> None:
    run = load_run(write_run(mixed_trials))
    contents = exported(run, sections)
    before = set(exported(run))
    assert set(contents) - before == {
        f"times.{kind}" for kind in ("png", "svg", "csv", "md", "tex")
    }
    assert before <= set(contents)
    rows = list(csv.reader(io.StringIO(contents["times.csv"].decode())))
    assert rows[:2] == [["Trial", "Training s"], ["t1", "12.5"]]


def test_a_new_section_says_when_it_is_empty(
    sections: Any, write_run: Any, trial: Any, tmp_path: Path
) -> None:
    run = load_run(write_run([trial("a", train_time_s=None)]))
    page = Page(write_report(run, tmp_path / "out", sections=sections))
    assert "No time is recorded." in page.text
    assert "times" not in page.tables
    assert "times.csv" not in exported(run, sections)


def test_a_section_without_content_is_left_out_of_page_and_contents(
    write_run: Any, trial: Any, tmp_path: Path
) -> None:
    empty = Section(name="nothing", heading="Nothing", build=lambda run: [])
    said = Section(name="said", heading="Said", build=lambda run: [Text(text="something")])
    page = Page(
        write_report(load_run(write_run([trial("a")])), tmp_path / "out", sections=(empty, said))
    )
    assert "Nothing" not in page.text
    assert "something" in page.text
    assert not any(attributes.get("id") == "nothing" for _, attributes in page.elements)


def test_every_module_of_the_list_is_a_section_of_that_name() -> None:
    assert tuple(section.name for section in load_sections()) == ORDER
