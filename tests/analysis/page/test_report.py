"""The report: its numbers are the recorded ones, and nothing in the data can break the page."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_up_run import write_made_up_run
from report_page import Page, data_of, report_page
from report_parts import tables_of

from analysis.errors import InputError
from analysis.numbers.selection import best_per_budget
from analysis.page.report import SCRIPTS, write_report
from analysis.runs.join import join_runs
from analysis.runs.load import load_run
from analysis.runs.run import rows_of
from analysis.sections.fusion import fusion_pairs
from analysis.sections.importance import importances
from patchtrain.record import TrialStatus
from patchtrain.units import format_bytes

GB = 10**9


BLOCKS = ("palettes", "explorer-data", "figures", "watch")


NUM_SCRIPTS = len(BLOCKS) + 2  # the data, Plotly, the page's own


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
    page = report_page(run_dir)
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
    page = report_page(run_dir)
    for each in best_per_budget(load_run(run_dir)):
        assert str(each.command) in page.text


@pytest.fixture(scope="module")
def large_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 80 made-up trials with everything that a report shows."""
    return write_made_up_run(tmp_path_factory.mktemp("large") / "run", 80)


@pytest.fixture(scope="module")
def large_page(large_run: Path) -> Page:
    """Its page."""
    return report_page(large_run)


def test_every_trial_of_the_page_is_as_the_parquet_has_it(
    large_run: Path, large_page: Page
) -> None:
    recorded = rows_of(load_run(large_run).trials)
    data = data_of(large_page, "explorer-data")
    trials = data["trials"] | data["values"]
    unused = {"patchgd": ("fusion",)}
    compared = 0
    for name in set(trials) & set(recorded[0]) - {"run", "kind"}:
        for index, row in enumerate(recorded):
            expected = None if name in unused.get(row["method"], ()) else row[name]
            assert trials[name][index] == expected, (name, index)
            compared += 1
    assert compared > 20 * len(recorded)


def test_every_number_of_the_page_comes_from_the_parquet(large_run: Path, large_page: Page) -> None:
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


def test_figures_show_recorded_peaks_and_metrics(large_run: Path, large_page: Page) -> None:
    trials = {row["trial_id"]: row for row in rows_of(load_run(large_run).trials)}
    (memory,) = data_of(large_page, "figures")["memory"]
    total = [sum(lengths) for lengths in zip(*(t["x"] for t in memory["data"]), strict=True)]
    for label, length in zip(memory["layout"]["yaxis"]["ticktext"], total, strict=True):
        assert length * GB == pytest.approx(trials[label.split(":")[0]]["peak_allocated_bytes"])
    (curves,) = data_of(large_page, "figures")["curves"]
    last = {trace["text"][0].split("<br>")[0]: trace["y"][-1] for trace in curves["data"]}
    for name, metric in last.items():
        assert metric == pytest.approx(trials[name.removeprefix("trial ")]["metric"])


def test_csv_has_every_column_and_the_front(write_run: Any, mixed_trials: Any) -> None:
    run_dir = write_run(mixed_trials)
    report_page(run_dir)
    with (run_dir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = pq.read_schema(run_dir / "trials.parquet").names
    assert list(rows[0]) == [*columns, "on_front"]
    assert [row["trial_id"] for row in rows if row["on_front"] == "True"] == ["t1", "t3", "t4"]
    assert rows[0]["peak_allocated_bytes"] == "400000001"
    assert rows[6]["peak_allocated_bytes"] == ""
    assert float(rows[3]["metric"]) == 0.71234567891


def test_page_needs_nothing_from_outside(write_run: Any, mixed_trials: Any) -> None:
    page = report_page(write_run(mixed_trials))
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
    sample = report_page(write_run([trial("a", data_is_sample=True)], name="sample"))
    real = report_page(write_run([trial("a")], name="real"))
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
    page = report_page(write_run(trials, sweep=sweep))
    assert len(page.scripts) == NUM_SCRIPTS
    assert page.count("img") == 1  # the still plot
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.tables["best"][1][-1][0] == f"a{HOSTILE}"
    trials = data_of(page, "explorer-data")["trials"]
    assert trials["trial_id"][0] == f"a{HOSTILE}"
    assert trials["error"][1] == HOSTILE
    texts = page.scripts["figures"]
    assert "<script" not in texts
    assert "<img" not in texts
    assert any("&lt;script&gt;" in text for text in _texts(data_of(page, "figures")))
    assert not any("<script" in text for text in _texts(data_of(page, "figures")))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return [text for child in children for text in _texts(child)]


def test_data_blocks_are_strict_json(write_run: Any, mixed_trials: Any, trial: Any) -> None:
    odd = [trial("nan", metric=float("nan")), trial("inf", metric=float("inf"))]
    page = report_page(write_run([*mixed_trials, *odd]))
    for name in BLOCKS:
        data_of(page, name)


def test_a_run_without_trials_still_makes_a_page(write_run: Any) -> None:
    run_dir = write_run([])
    page = report_page(run_dir)
    assert "No trial is recorded yet" in page.text
    assert "Nothing to draw" in page.text
    assert (run_dir / "pareto.png").exists()


def test_all_out_of_memory_says_so_and_what_to_do(write_run: Any, trial: Any) -> None:
    status = TrialStatus.OUT_OF_MEMORY
    page = report_page(write_run([trial(name, status=status, metric=None) for name in "ab"]))
    assert "No trial completed; the smallest peak seen is 1GB" in page.text
    assert "best" not in page.tables


def test_a_budget_that_nothing_fits_is_a_row_that_says_so(write_run: Any, trial: Any) -> None:
    page = report_page(write_run([trial("a")], sweep={"budgets_bytes": [1000, 2 * GB]}))
    assert [text for text, _ in page.tables["best"][1]] == ["1KB", "no completed trial fits"]


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


def test_several_runs_share_a_page(write_run: Any, trial: Any, tmp_path: Path) -> None:
    first = load_run(write_run([trial("a"), trial("b", metric=0.4)], name="first"))
    second = load_run(write_run([trial("a", metric=0.9)], name="second"))
    page = Page(write_report(join_runs([first, second]), tmp_path / "out"))
    data = data_of(page, "explorer-data")
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
    assert "sweep.json is left out" in report_page(run_dir).text


def test_fusion_pairs_are_told(write_run: Any, trial: Any) -> None:
    trials = [
        trial("a", metric=0.5),
        trial("b", metric=0.6, fusion="concat", peak_allocated_bytes=2 * GB),
    ]
    page = report_page(write_run(trials))
    assert "Over 1 pair of trials" in page.text
    assert "better in 1, worse in 0" in " ".join(page.text.split())
    assert [text for text, _ in page.tables["fusion"][1]] == ["a", "b", "+0.1000", "1GB", "2GB"]


def test_a_page_grows_slowly_enough_for_ten_thousand_trials(
    large_page: Page, tmp_path: Path
) -> None:
    num_more = 320
    larger = report_page(write_made_up_run(tmp_path / "run", 80 + num_more))
    each = (len(larger.text.encode()) - len(large_page.text.encode())) / num_more
    assert len(large_page.text.encode()) + 10_000 * each < 15e6


def test_every_script_and_nothing_else_is_joined_into_the_page(large_page: Page) -> None:
    folder = files("analysis.page").joinpath("assets", "script")
    assert {each.name for each in folder.iterdir()} == set(SCRIPTS)
    own = next(text for name, text in large_page.scripts.items() if "use strict" in text[:40])
    assert all(folder.joinpath(name).read_text() in own for name in SCRIPTS)
