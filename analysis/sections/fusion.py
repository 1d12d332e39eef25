"""concat against add: pairs of trials that differ only in how the global feature is fused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from analysis.draw.charts import Axis, Chart, Mark, Panel, Points, Rule
from analysis.draw.tables import Cell, Column, Table, bytes_cell, text_column
from analysis.numbers.columns import is_completed, metrics, peaks
from analysis.numbers.varied import further_settings
from analysis.runs.run import RUN, Run, once
from analysis.sections.cells import run_cells, run_columns
from analysis.sections.section import Block, Figure, Listing, Section, Text, number, plural
from analysis.settings import SETTINGS, used_setting
from analysis.text import unit_of
from patchtrain.units import format_bytes

WITHOUT_EFFECT = ("num_sampled", "patch_microbatch", "fusion")
"""Settings that may differ in a pair: derived, without effect on learning, or the one compared."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two completed trials that differ in `fusion` alone."""

    run: str
    add: str
    """trial_id."""
    concat: str
    metric_gain: float
    """Metric of concat minus that of add."""
    peak_bytes: tuple[int, int]
    """Of add and of concat."""

    @property
    def added_bytes(self) -> int:
        """Peak of concat minus that of add."""
        return self.peak_bytes[1] - self.peak_bytes[0]


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """The pairs of trials that compare concat with add."""

    pairs: tuple[Pair, ...]
    mean_gain: float | None
    """Mean of the pairs' `metric_gain`; None without pairs."""
    half_width: float | None
    """Half the width of the 95% interval of the mean gain by Student's t; None below two pairs."""
    num_better: int
    """Pairs in which concat is better."""
    num_worse: int
    median_peak_ratio: float | None
    """Median of peak of concat over peak of add."""


@once
def fusion_pairs(run: Run) -> Fusion:
    """Return all pairs of one run, seed and configuration that differ in `fusion` alone.

    Budgets and `patch_microbatch` may differ: they change memory, never what is learned. Where a
    configuration was trained several times, the trial with the smallest peak stands for it.
    """
    pairs = tuple(
        _pair(side["add"], side["concat"])
        for side in _sides(run)
        if side.keys() == {"add", "concat"}
    )
    gains = np.array([pair.metric_gain for pair in pairs])
    ratios = [pair.peak_bytes[1] / pair.peak_bytes[0] for pair in pairs]
    return Fusion(
        pairs=pairs,
        mean_gain=float(gains.mean()) if pairs else None,
        half_width=_half_width(gains),
        num_better=int((gains > 0).sum()),
        num_worse=int((gains < 0).sum()),
        median_peak_ratio=float(np.median(ratios)) if pairs else None,
    )


def _sides(run: Run) -> Iterable[Mapping[str, dict[str, Any]]]:
    """Return fusion -> trial of each configuration that fuses, whatever else it is."""
    known = np.isfinite(metrics(run)) & (peaks(run) > 0)
    rows = [row for row in run.rows_where(is_completed(run) & known) if _fuses(row)]
    rows.sort(key=lambda row: (row["peak_allocated_bytes"], row["trial_id"]))
    settings = [name for name in SETTINGS if name not in WITHOUT_EFFECT]
    alike = [*settings, *further_settings(run), "epochs_done", "seed", RUN]
    sides: dict[tuple[object, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        sides.setdefault(tuple(row[name] for name in alike), {}).setdefault(row["fusion"], row)
    return sides.values()


def _fuses(row: Mapping[str, Any]) -> bool:
    return row["method"] is not None and used_setting(row, "fusion") in ("add", "concat")


def _pair(add: Mapping[str, Any], concat: Mapping[str, Any]) -> Pair:
    return Pair(
        run=add[RUN],
        add=add["trial_id"],
        concat=concat["trial_id"],
        metric_gain=concat["metric"] - add["metric"],
        peak_bytes=(add["peak_allocated_bytes"], concat["peak_allocated_bytes"]),
    )


def _half_width(gains: np.ndarray) -> float | None:
    if len(gains) < 2:
        return None
    from scipy.stats import t

    quantile = float(t.ppf(0.975, len(gains) - 1))
    return quantile * float(gains.std(ddof=1)) / math.sqrt(len(gains))


def fusion_chart(found: Fusion, metric_name: str) -> Chart:
    """Return what concat gains in metric against what it adds to the peak, a point a pair."""
    unit, unit_bytes = unit_of(max((abs(pair.added_bytes) for pair in found.pairs), default=0))
    points = Points(
        label="a pair of trials",
        x=[pair.added_bytes / unit_bytes for pair in found.pairs],
        y=[pair.metric_gain for pair in found.pairs],
        mark=Mark("circle", "o", "front", 9),
        hover=[
            f"{pair.add} (add) and {pair.concat} (concat)\n"
            f"{metric_name} {pair.metric_gain:+.4f}\n"
            f"peak {format_bytes(pair.peak_bytes[0])} and {format_bytes(pair.peak_bytes[1])}"
            for pair in found.pairs
        ],
    )
    panel = Panel(
        x=Axis(title=f"peak of concat minus peak of add ({unit})"),
        y=Axis(title=f"{metric_name} of concat minus add"),
        series=(points,) if found.pairs else (),
        rules=(Rule(at=0, vertical=True), Rule(at=0, vertical=False)),
    )
    return Chart(name="fusion", title="concat against add", panels=(panel,))


def fusion_table(found: Fusion, metric_name: str) -> Table:
    """Return the pairs of add and concat."""
    several = len({pair.run for pair in found.pairs}) > 1
    columns = (
        *run_columns(several),
        text_column("add"),
        text_column("concat"),
        Column(f"{metric_name} gained"),
        Column("Peak of add"),
        Column("Peak of concat"),
    )
    rows = tuple(
        (
            *run_cells(pair.run, several),
            Cell(pair.add),
            Cell(pair.concat),
            Cell(f"{pair.metric_gain:+.4f}", pair.metric_gain),
            *map(bytes_cell, pair.peak_bytes),
        )
        for pair in found.pairs
    )
    return Table(name="fusion", title="concat against add", columns=columns, rows=rows)


def _told(found: Fusion, metric_name: str) -> Markup:
    """Return in words what the pairs say; there must be some."""
    gain, ratio = found.mean_gain or 0.0, found.median_peak_ratio or 0.0
    interval = Markup()
    if found.half_width is not None:
        half = number(found.half_width, f"{found.half_width:.4f}")
        interval = Markup(" (95% interval \N{PLUS-MINUS SIGN}{})").format(half)
    return Markup(
        "Over {} of trials that differ in nothing else, concat changes {} by <strong>{}</strong> "
        "on average{}: better in {}, worse in {}. The median pair's peak is {} times as large with "
        "concat as with add."
    ).format(
        plural(len(found.pairs), "pair"),
        metric_name,
        number(gain, f"{gain:+.4f}"),
        interval,
        found.num_better,
        found.num_worse,
        number(ratio, f"{ratio:.3f}"),
    )


def _build(run: Run) -> list[Block]:
    found = fusion_pairs(run)
    if not found.pairs:
        return []
    return [
        Text(text=_told(found, run.metric_name)),
        Figure(
            chart=fusion_chart(found, run.metric_name),
            label="What concat gains and what it costs, a point for each pair",
        ),
        Listing(table=fusion_table(found, run.metric_name), folded="All pairs"),
    ]


SECTION = Section(name="fusion", heading="concat against add", build=_build)
