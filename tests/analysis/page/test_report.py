"""The report: its numbers are the recorded ones, and nothing in the data can break the page."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_up_run import write_made_up_run
from report_parts import tables_of

from analysis.errors import InputError
from analysis.numbers.selection import best_per_budget
from analysis.page.report import status_counts, write_report
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import rows_of
from analysis.sections.answer import headline
from analysis.sections.fusion import fusion_pairs
from analysis.sections.importance import importances
from analysis.sections.made import facts, versions
from patchtrain.record import TrialStatus
from patchtrain.units import format_bytes

GB = 10**9
BLOCKS = ("palettes", "explorer-data", "figures", "watch")
NUM_SCRIPTS = len(BLOCKS) + 2  # the data, Plotly, the page's own


class _Page(HTMLParser):
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


def _report(run_dir: Path) -> _Page:
    return _Page(write_report(load_run(run_dir), run_dir))


def test_report_writes_all_four_files(write_run: Any, mixed_trials: Any, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    page = write_report(load_run(write_run(mixed_trials)), out)
    assert page == out / "report.html"
    assert sorted(path.name for path in out.iterdir()) == [
        "pareto.png",
        "pareto.svg",
        "report.html",
        "trials.csv",
    ]
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "pareto.svg").read_text()


def test_every_number_of_the_best_table_is_that_of_the_parquet(
    write_run: Any, mixed_trials: Any
) -> None:
    run_dir = write_run(mixed_trials)
    page = _report(run_dir)
    recorded = {r["trial_id"]: r for r in pq.read_table(run_dir / "trials.parquet").to_pylist()}
    head, *rows = page.tables["best"]
    assert [text for text, _ in head] == [
        "Budget",
        "accuracy",
        "Gain",
        "Peak",
        "Method",
        "Backbone",
        "Image px",
        "Patch px",
        "Sampling rate",
        "Sampled patches",
        "Inner iter.",
        "Fusion",
        "Trial",
    ]
    for row, budget, trial_id in zip(rows, (GB, 2 * GB), ("t3", "t4"), strict=True):
        expected = recorded[trial_id]
        assert row[0] == (format_bytes(budget), str(budget))
        assert row[1] == (f"{expected['metric']:.4f}", repr(expected["metric"]))
        peak = expected["peak_allocated_bytes"]
        assert row[3] == (format_bytes(peak), str(peak))
        settings = ("image_size", "patch_size", "sampling_rate", "num_sampled", "inner_iterations")
        for cell, name in zip(row[6:11], settings, strict=True):
            assert cell == (str(expected[name]), str(expected[name]))
        texts = [row[i][0] for i in (4, 5, 11, 12)]
        assert texts == [expected[n] for n in ("method", "backbone", "fusion", "trial_id")]
    gain = recorded["t4"]["metric"] - recorded["t3"]["metric"]
    assert rows[0][2][1] is None
    assert rows[1][2] == (f"+{gain:.4f}", repr(gain))


def test_page_has_the_command_of_each_budget(write_run: Any, mixed_trials: Any) -> None:
    run_dir = write_run(mixed_trials)
    page = _report(run_dir)
    for each in best_per_budget(load_run(run_dir)):
        assert str(each.command) in page.text


def _data(page: _Page, name: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(page.scripts[name], parse_constant=refuse)


@pytest.fixture(scope="module")
def large_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 80 made-up trials with everything that a report shows."""
    return write_made_up_run(tmp_path_factory.mktemp("large") / "run", 80)


@pytest.fixture(scope="module")
def large_page(large_run: Path) -> _Page:
    """Its page."""
    return _report(large_run)


def test_every_trial_of_the_page_is_as_the_parquet_has_it(
    large_run: Path, large_page: _Page
) -> None:
    recorded = rows_of(load_run(large_run).trials)
    data = _data(large_page, "explorer-data")
    trials = data["trials"] | data["values"]
    unused = {"patchgd": ("fusion",)}
    compared = 0
    for name in set(trials) & set(recorded[0]) - {"run", "kind"}:
        for index, row in enumerate(recorded):
            expected = None if name in unused.get(row["method"], ()) else row[name]
            assert trials[name][index] == expected, (name, index)
            compared += 1
    assert compared > 20 * len(recorded)


def test_every_number_of_the_page_comes_from_the_parquet(
    large_run: Path, large_page: _Page
) -> None:
    trials = pq.read_table(large_run / "trials.parquet").to_pylist()
    recorded = {value for row in trials for value in row.values() if isinstance(value, int | float)}
    sweep = json.loads((large_run / "sweep.json").read_text())
    run = load_run(large_run)
    tables, pairs = tables_of(run), fusion_pairs(run)
    # what is worked out of recorded values has its own tests; here it must be what was worked out
    worked_out = {
        *sweep["budgets_bytes"],
        *(a.gain for a in best_per_budget(run) if a.gain is not None),
        *(share for each in importances(run) for share in each.shares.values()),
        *(pair.metric_gain for pair in pairs.pairs),
        pairs.mean_gain,
        pairs.half_width,
        pairs.median_peak_ratio,
        *(cell.value for row in tables["hypervolume"].rows for cell in row),
        *(cell.value for row in tables["waste"].rows for cell in row),
        *(cell.value for row in tables["memory"].rows for cell in row[-3:-2]),
    }
    from_paper = {cell.value for row in tables["paper"].rows for cell in row if cell.value}
    shown = {float(value) for value in large_page.values}
    assert len(shown) > 100
    known = {float(v) for v in recorded | worked_out | from_paper if isinstance(v, int | float)}
    assert shown <= known


def test_figures_show_recorded_peaks_and_metrics(large_run: Path, large_page: _Page) -> None:
    trials = {row["trial_id"]: row for row in rows_of(load_run(large_run).trials)}
    (memory,) = _data(large_page, "figures")["memory"]
    total = [sum(lengths) for lengths in zip(*(t["x"] for t in memory["data"]), strict=True)]
    for label, length in zip(memory["layout"]["yaxis"]["ticktext"], total, strict=True):
        assert length * GB == pytest.approx(trials[label.split(":")[0]]["peak_allocated_bytes"])
    (curves,) = _data(large_page, "figures")["curves"]
    last = {trace["text"][0].split("<br>")[0]: trace["y"][-1] for trace in curves["data"]}
    for name, metric in last.items():
        assert metric == pytest.approx(trials[name.removeprefix("trial ")]["metric"])


def test_csv_has_every_column_and_the_front(write_run: Any, mixed_trials: Any) -> None:
    run_dir = write_run(mixed_trials)
    _report(run_dir)
    with (run_dir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = pq.read_schema(run_dir / "trials.parquet").names
    assert list(rows[0]) == [*columns, "on_front"]
    assert [row["trial_id"] for row in rows if row["on_front"] == "True"] == ["t1", "t3", "t4"]
    assert rows[0]["peak_allocated_bytes"] == "400000001"
    assert rows[6]["peak_allocated_bytes"] == ""
    assert float(rows[3]["metric"]) == 0.71234567891


def test_page_needs_nothing_from_outside(write_run: Any, mixed_trials: Any) -> None:
    page = _report(write_run(mixed_trials))
    assert page.count("link") == 0
    assert len(page.scripts) == NUM_SCRIPTS
    for _, attributes in page.elements:
        assert (attributes.get("src") or "data:").startswith("data:")
        assert str(attributes.get("href", "#")).startswith("#")
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert "default-src 'none'" in str(policy)


def test_sample_data_is_said_loudly_and_without_the_papers_points(
    write_run: Any, trial: Any
) -> None:
    sample = _report(write_run([trial("a", data_is_sample=True)], name="sample"))
    real = _report(write_run([trial("a")], name="real"))
    assert "SAMPLE DATA" in sample.text
    assert "SAMPLE DATA" not in real.text
    assert "paper: local_global" in real.scripts["explorer-data"]
    assert "paper:" not in sample.scripts["explorer-data"]
    assert "paper" in real.tables
    assert "paper" not in sample.tables


HOSTILE = (
    "</script><script>alert(1)</script>\"'<img src=x onerror=alert(1)>{{ 7*7 }}%{x}$\\frac{\n@front"
)


def test_hostile_text_is_shown_as_text(write_run: Any, trial: Any) -> None:
    status = TrialStatus.FAILED
    trials = [
        trial(f"a{HOSTILE}", backbone=HOSTILE, metric_name=HOSTILE, sweep=HOSTILE, device=HOSTILE),
        trial("b", status=status, metric=None, metric_name=HOSTILE, error=HOSTILE, method=HOSTILE),
        trial("c", status=status, metric=None, metric_name=HOSTILE, versions=HOSTILE),
    ]
    sweep = {"sweep": HOSTILE, "command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    page = _report(write_run(trials, sweep=sweep))
    assert len(page.scripts) == NUM_SCRIPTS
    assert page.count("img") == 1  # the still plot
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.tables["best"][1][-1][0] == f"a{HOSTILE}"
    trials = _data(page, "explorer-data")["trials"]
    assert trials["trial_id"][0] == f"a{HOSTILE}"
    assert trials["error"][1] == HOSTILE
    texts = page.scripts["figures"]
    assert "<script" not in texts
    assert "<img" not in texts
    assert any("&lt;script&gt;" in text for text in _texts(_data(page, "figures")))
    assert not any("<script" in text for text in _texts(_data(page, "figures")))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return [text for child in children for text in _texts(child)]


def test_data_blocks_are_strict_json(write_run: Any, mixed_trials: Any, trial: Any) -> None:
    odd = [trial("nan", metric=float("nan")), trial("inf", metric=float("inf"))]
    page = _report(write_run([*mixed_trials, *odd]))
    for name in BLOCKS:
        _data(page, name)


def test_a_run_without_trials_still_makes_a_page(write_run: Any) -> None:
    run_dir = write_run([])
    page = _report(run_dir)
    assert "No trial is recorded yet" in page.text
    assert "Nothing to draw" in page.text
    assert (run_dir / "pareto.png").exists()


def test_all_out_of_memory_says_so_and_what_to_do(write_run: Any, trial: Any) -> None:
    status = TrialStatus.OUT_OF_MEMORY
    page = _report(write_run([trial(name, status=status, metric=None) for name in "ab"]))
    assert "No trial completed; the smallest peak seen is 1GB" in page.text
    assert "best" not in page.tables


def test_a_budget_that_nothing_fits_is_a_row_that_says_so(write_run: Any, trial: Any) -> None:
    page = _report(write_run([trial("a")], sweep={"budgets_bytes": [1000, 2 * GB]}))
    assert [text for text, _ in page.tables["best"][1]] == ["1KB", "no completed trial fits"]


def test_headline_says_what_more_memory_buys(write_run: Any, mixed_trials: Any) -> None:
    sweep = {"budgets_bytes": [100, GB, 2 * GB, 3 * GB]}
    run = load_run(write_run(mixed_trials, sweep=sweep))
    none, small, large, larger = headline(best_per_budget(run), run)
    assert none == "In 100B no trial completed."
    assert small.startswith("In 1GB the best accuracy is 0.6180: local_global")
    assert large.startswith("In 2GB the best accuracy is 0.7123, 0.0943 more than in 1GB: ")
    assert "the same model as in 2GB" in larger
    assert "bought nothing" in larger


def test_facts_tell_what_made_the_run(write_run: Any, mixed_trials: Any) -> None:
    sweep = {
        "command": "python sweeps/panda_budget.py",
        "num_trials": 12,
        "versions": {"ray": "2.60"},
    }
    run = load_run(write_run(mixed_trials, sweep=sweep))
    told = facts(run, "run")
    assert told["Command"] == "python sweeps/panda_budget.py"
    assert told["Trials"] == "8 of 12 asked for, 1 not launched as predicted not to fit"
    assert told["Device"] == "cpu"
    assert told["Started"] == "2025-01-02 03:04:05+00:00"
    assert versions(run, "run") == {"ray": "2.60", "torch": "2.15.0"}
    assert status_counts(run)["completed"] == 5


def test_the_same_run_gives_the_same_bytes(
    write_run: Any, mixed_trials: Any, tmp_path: Path
) -> None:
    run = load_run(write_run(mixed_trials))
    write_report(run, tmp_path / "first")
    write_report(run, tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_output_that_cannot_be_written_is_refused(
    write_run: Any, trial: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(load_run(write_run([trial("a")])), tmp_path / "file" / "out")


def test_the_report_shows_seeds_and_settings_that_differ(write_run: Any, trial: Any) -> None:
    run = load_run(
        write_run(
            [
                trial("a", metric=0.6, group="a"),
                trial("a-s1", metric=0.5, group="a", seed=1),
                trial("b", metric=0.5, group="b", learning_rate=3e-3),
                trial("c", metric=None, group="c", status=TrialStatus.PREDICTED_INFEASIBLE),
            ]
        )
    )
    best = tables_of(run)["best"]
    (row,) = best.rows
    texts = {column.heading: cell.text for column, cell in zip(best.columns, row, strict=True)}
    assert texts["Over seeds"] == "0.5500 ± 0.0707 (2 seeds)"
    assert texts["Learning rate"] == "0.001"
    assert "Precision" not in texts
    told = facts(run, "run")["Trials"]
    assert told.endswith("1 not launched as predicted not to fit, 1 with further seeds")
    assert told.startswith("2, ")


def test_several_runs_share_a_page(write_run: Any, trial: Any, tmp_path: Path) -> None:
    first = load_run(write_run([trial("a"), trial("b", metric=0.4)], name="first"))
    second = load_run(write_run([trial("a", metric=0.9)], name="second"))
    page = _Page(write_report(join_runs([first, second]), tmp_path / "out"))
    data = _data(page, "explorer-data")
    assert data["runs"] == ["first", "second"]
    assert data["trials"]["run"] == [0, 0, 1]
    assert [each["before"] for each in data["commands"]["templates"]] == [
        f"patchtrain train {tmp_path}/{name}/trials/@trial_id@/config.yaml"
        for name in ("first", "second")
    ]
    assert [row[0][0] for row in page.tables["hypervolume"][1:]] == ["first", "second"]
    assert "second" in [text for text, _ in page.tables["best"][1]]
    with (tmp_path / "out" / "trials.csv").open(newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["first", "first", "second"]


def test_what_was_damaged_is_said_on_the_page(write_run: Any, trial: Any) -> None:
    run_dir = write_run([trial("a")])
    (run_dir / "sweep.json").write_text("{")
    assert "sweep.json is left out" in _report(run_dir).text


def test_fusion_pairs_are_told(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", metric=0.5),
        trial("b", metric=0.6, fusion="concat", peak_allocated_bytes=2 * GB),
    ]
    page = _report(write_run(trials))
    assert "Over 1 pair of trials" in page.text
    assert "better in 1, worse in 0" in " ".join(page.text.split())
    assert [text for text, _ in page.tables["fusion"][1]] == ["a", "b", "+0.1000", "1GB", "2GB"]


def test_a_page_grows_slowly_enough_for_ten_thousand_trials(
    large_page: _Page, tmp_path: Path
) -> None:
    num_more = 320
    larger = _report(write_made_up_run(tmp_path / "run", 80 + num_more))
    each = (len(larger.text.encode()) - len(large_page.text.encode())) / num_more
    assert len(large_page.text.encode()) + 10_000 * each < 15e6
