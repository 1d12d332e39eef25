"""The data of the page's interactive part: every trial as columns, with what filters it.

After every change of a filter the page's script finds the front and the best again, by the rules of
`numbers.selection`. Values are the recorded ones. Knows nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.draw.axes import LOG_AXIS_RATIO
from analysis.draw.charts import RUN_CYCLE
from analysis.draw.plotly import hover_text, plotly_marker
from analysis.numbers.columns import is_drawable
from analysis.numbers.rerun import Command, command_of
from analysis.numbers.seeds import Seeds, all_seeds
from analysis.numbers.varied import headings, is_text, shown_settings
from analysis.runs.run import RUN, Run
from analysis.sections.kinds import MARKS, STRIP_KINDS, Kind
from analysis.sections.paper import PAPER_MARKS, comparable_reference, mark_name, reference_text
from analysis.sections.pareto import SURE
from analysis.settings import used_setting
from analysis.text import UNKNOWN, exact_size, status_text, unit_of
from patchtrain.record import TrialStatus

PEAKS: Mapping[str, str] = {
    "peak_allocated_bytes": "allocated (tensors)",
    "peak_reserved_bytes": "reserved (allocator)",
    "peak_process_bytes": "process (driver)",
}
"""Column of each kind of peak that the plot can be drawn over -> its name for people."""

ALWAYS_FILTERED = ("method", "fusion", "backbone", "patch_size", "budget_bytes", "status")
"""Filters that are offered wherever the column is known; others where trials differ in it."""

NOT_FILTERED = ("num_sampled", "learning_rate", "sampling_rate")
"""Settings whose values are mostly distinct, or follow from others."""

MOST_CHOICES = 24
"""A filter with more values does not help."""

_CANDIDATE = "candidate"
"""Kind of a completed trial. Whether it is on the front, not on it or over its budget depends on
what else is shown and on the kind of peak."""


def explorer_data(run: Run) -> dict[str, Any]:
    """Return what the page's script reads."""
    rows = run.rows
    settings = shown_settings(run)
    unit, unit_bytes = unit_of(_largest(run))
    return {
        "metricName": run.metric_name,
        "unit": unit,
        "unitBytes": unit_bytes,
        "logAxisRatio": LOG_AXIS_RATIO,
        "unknown": UNKNOWN,
        "runs": list(run.names),
        "cycle": list(RUN_CYCLE),
        "budgets": [{"bytes": each, "text": exact_size(each)} for each in run.budgets_bytes],
        "peaks": _offered_peaks(run),
        "marks": _marks(),
        "sure": SURE,
        "strip": [kind.value for kind in STRIP_KINDS],
        "statuses": {name: status_text(name) for name in run.trials["status"].unique().tolist()},
        "filters": _filters(run, rows),
        "settings": [
            {"name": name, "heading": heading, "isText": is_text(run.trials[name])}
            for name, heading in settings.items()
        ],
        "trials": _columns(run),
        "values": {name: [used_setting(row, name) for row in rows] for name in settings},
        "commands": _commands(run, rows),
        "reference": _reference(run),
    }


def _largest(run: Run) -> float:
    known = run.trials[[*PEAKS, "predicted_peak_bytes"]].max().dropna()
    return max([*map(float, known), *run.budgets_bytes, 0])


def _columns(run: Run) -> dict[str, list[Any]]:
    rows = run.rows
    seeds = all_seeds(run)
    places = {name: place for place, name in enumerate(run.names)}
    keys = [(row[RUN], row["trial_id"]) for row in rows]
    return {
        "trial_id": [row["trial_id"] for row in rows],
        "run": [places[row[RUN]] for row in rows],
        "kind": [_base_kind(row) for row in rows],
        "configuration": _configurations(keys, rows, seeds),
        **{name: [getattr(seeds.get(key), field, None) for key in keys] for name, field in _SEEDS},
        **{name: [row[name] for row in rows] for name in _RECORDED},
        "metric": [_metric(row["metric"]) for row in rows],
    }


_SEEDS = (
    ("low", "lowest"),
    ("high", "highest"),
    ("num_seeds", "num_seeds"),
    ("mean", "mean"),
    ("deviation", "deviation"),
)
"""Column with a result over several seeds -> field of `Seeds`."""

_RECORDED = (
    "status",
    *PEAKS,
    "predicted_peak_bytes",
    "budget_bytes",
    "epochs_done",
    "epochs",
    "train_time_s",
    "seed",
    "error",
)


def _configurations(
    keys: Sequence[tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    seeds: Mapping[tuple[str, str], Seeds],
) -> list[int | None]:
    """Return for each trial the number of its configuration, if that has several seeds."""
    numbers = {key: number for number, key in enumerate(seeds)}
    return [numbers.get((run, row["group"])) for (run, _), row in zip(keys, rows, strict=True)]


def _offered_peaks(run: Run) -> list[dict[str, str]]:
    return [
        {"name": name, "text": text}
        for name, text in PEAKS.items()
        if name == "peak_allocated_bytes" or run.trials[name].notna().any()
    ]


def _marks() -> dict[str, Any]:
    return {
        kind.value: {"label": label, "marker": plotly_marker(mark)}
        for kind, (label, mark) in MARKS.items()
    }


def _base_kind(row: Mapping[str, Any]) -> str:
    if row["status"] != TrialStatus.COMPLETED.value:
        return str(row["status"])
    is_first = row["group"] in (None, row["trial_id"])
    return _CANDIDATE if is_first else Kind.REPLICATE.value


def _metric(value: float | None) -> float | None:
    return value if value is not None and is_drawable(value) else None


def _filters(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shown = (name for name in shown_settings(run) if name not in NOT_FILTERED)
    names = dict.fromkeys([*([RUN] if len(run.names) > 1 else []), *ALWAYS_FILTERED, *shown])
    titles = {**headings(run), RUN: "Run", "status": "Status"}
    found = [
        _filter(name, titles[name], [used_setting(row, name) for row in rows]) for name in names
    ]
    return [each for each in found if 1 < len(each["choices"]) <= MOST_CHOICES]


def _filter(name: str, heading: str, values: Sequence[Any]) -> dict[str, Any]:
    distinct = sorted({value for value in values if value is not None})
    if None in values:
        distinct.append(None)
    places = {value: index for index, value in enumerate(distinct)}
    return {
        "name": name,
        "heading": heading,
        "choices": [_choice(name, value) for value in distinct],
        "codes": [places[value] for value in values],
    }


def _choice(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name == "status":
        return status_text(value)
    return exact_size(value) if name == "budget_bytes" else str(value)


def _commands(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how the script writes a trial's command: a template for each run, odd ids apart.

    An id that a shell would not read as one word is quoted here, not by the script.
    """
    placeholder = "@trial_id@"
    while any(placeholder in folder.text for folder in run.folders.values()):
        placeholder = f"@{placeholder}@"
    odd = {
        str(index): _pieces(command_of(run, row))
        for index, row in enumerate(rows)
        if not _is_plain(row["trial_id"]) and row[RUN] in run.folders
    }
    templates = [
        _pieces(command_of(run, {RUN: name, "trial_id": placeholder})) for name in run.names
    ]
    return {"placeholder": placeholder, "templates": templates, "odd": odd}


def _pieces(command: Command | None) -> dict[str, str] | None:
    return None if command is None else {"before": command.before, "after": command.after}


def _is_plain(trial_id: str) -> bool:
    return trial_id.isascii() and all(c.isalnum() or c in "_-." for c in trial_id)


def _reference(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "peak_bytes": point.peak_bytes,
            "metric": point.metrics[run.metric_name],
            "label": PAPER_MARKS[name][0],
            "marker": plotly_marker(PAPER_MARKS[name][1]),
            "text": hover_text(reference_text(point, run.metric_name)),
        }
        for point in comparable_reference(run)
        for name in [mark_name(point)]
    ]
