"""Where trials and time went, by how the trials ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from analysis.draw.charts import HATCHES, RUN_CYCLE, Axis, Bars, Chart, Panel
from analysis.draw.tables import Cell, Column, Table, text_column
from analysis.numbers.columns import (
    has_status,
    hours,
    is_completed,
    is_on_front,
    is_over_budget,
    is_replicate,
)
from analysis.pareto import Mask
from analysis.runs.run import Run, once
from analysis.sections.cells import run_cells, run_columns
from analysis.sections.section import Block, Figure, Listing, Section
from analysis.text import NOT_TO_FIT
from patchtrain.record import TrialStatus


class Outcome(str, Enum):
    """How a trial ended, as far as time and memory are concerned."""

    FRONT = "on the front"
    DOMINATED = "completed, not on the front"
    REPLICATE = "a repeat with another seed"
    STOPPED = "stopped early"
    OVER_BUDGET = "completed over its budget"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    REFUSED = NOT_TO_FIT


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How many trials of one outcome there are and how long they took."""

    run: str
    outcome: Outcome
    num_trials: int
    hours: float
    """Device hours of the trials whose time is known."""
    num_untimed: int
    """Launched trials whose time is unknown."""


@once
def spent(run: Run) -> tuple[Spent, ...]:
    """Return what each run's trials came to, without outcomes that did not occur."""
    outcomes = outcomes_of(run)
    return tuple(
        _spent(run, name, outcome, here)
        for name in run.names
        for outcome, mask in outcomes.items()
        if (here := mask & run.masks_by_name[name]).any()
    )


def _spent(run: Run, name: str, outcome: Outcome, here: Mask) -> Spent:
    cost = hours(run)[here]
    known = np.isfinite(cost)
    ran = outcome is not Outcome.REFUSED
    return Spent(
        run=name,
        outcome=outcome,
        num_trials=int(here.sum()),
        hours=float(cost[known].sum()) if ran else 0.0,
        num_untimed=int((~known).sum()) if ran else 0,
    )


def outcomes_of(run: Run) -> Mapping[Outcome, Mask]:
    """Return outcome -> which trials had it; trials with a status unknown here have none."""
    over = is_completed(run) & is_over_budget(run)
    replicate = is_completed(run) & is_replicate(run) & ~over
    front = is_on_front(run) & ~over
    return {
        Outcome.FRONT: front,
        Outcome.DOMINATED: is_completed(run) & ~over & ~replicate & ~front,
        Outcome.REPLICATE: replicate,
        Outcome.STOPPED: has_status(run, TrialStatus.STOPPED_EARLY),
        Outcome.OVER_BUDGET: over,
        Outcome.OUT_OF_MEMORY: has_status(run, TrialStatus.OUT_OF_MEMORY),
        Outcome.FAILED: has_status(run, TrialStatus.FAILED),
        Outcome.REFUSED: has_status(run, TrialStatus.PREDICTED_INFEASIBLE),
    }


def waste_chart(found: tuple[Spent, ...]) -> Chart:
    """Return bars of trials and of device hours, a piece a run."""
    outcomes = [outcome for outcome in Outcome if any(s.outcome is outcome for s in found)]
    runs = list(dict.fromkeys(each.run for each in found))
    if not found:
        return Chart(name="waste", title="Where trials and time went", panels=())
    has_hours = any(each.hours for each in found)
    panels = [
        _panel("trials", found, outcomes, runs),
        *([_panel("device hours", found, outcomes, runs)] if has_hours else []),
    ]
    return Chart(
        name="waste",
        title="Where trials and time went",
        panels=tuple(panels),
        columns=2,
    )


def _panel(what: str, found: tuple[Spent, ...], outcomes: list[Outcome], runs: list[str]) -> Panel:
    spent = {(each.run, each.outcome): each for each in found}
    bars = []
    for index, run in enumerate(runs):
        of_run = [spent.get((run, outcome)) for outcome in outcomes]
        lengths = [_amount(each, what) for each in of_run]
        bars.append(
            Bars(
                label=run,
                lengths=lengths,
                colour=RUN_CYCLE[index % len(RUN_CYCLE)],
                hatch=HATCHES[index % len(HATCHES)],
                hover=[
                    f"{run}: {outcome.value}\n{length:.4g} {what}"
                    for outcome, length in zip(outcomes, lengths, strict=True)
                ],
                texts=[f"{length:.3g}" for length in lengths] if len(runs) == 1 else (),
                in_legend=len(runs) > 1,
            )
        )
    return Panel(
        x=Axis(title=what, range=_range(bars)),
        y=Axis(title="", categories=tuple(outcome.value for outcome in outcomes)),
        series=tuple(bars),
    )


def _amount(spent: Spent | None, what: str) -> float:
    if spent is None:
        return 0.0
    return float(spent.num_trials) if what == "trials" else spent.hours


def _range(bars: list[Bars]) -> tuple[float, float]:
    """Return an axis with room for the texts beside the bars."""
    longest = max(sum(lengths) for lengths in zip(*(bar.lengths for bar in bars), strict=True))
    return 0.0, 1.18 * longest or 1.0


def waste_table(found: Sequence[Spent]) -> Table:
    """Return where trials and time went."""
    several = len({each.run for each in found}) > 1
    has_untimed = any(each.num_untimed for each in found)
    return Table(
        name="waste",
        title="Where trials and time went",
        columns=(
            *run_columns(several),
            text_column("Outcome"),
            Column("Trials"),
            Column("Device hours"),
            *([Column("With unknown time")] if has_untimed else []),
        ),
        rows=tuple(
            (
                *run_cells(each.run, several),
                Cell(each.outcome.value),
                Cell(str(each.num_trials), each.num_trials),
                Cell(f"{each.hours:.4g}", each.hours),
                *([Cell(str(each.num_untimed), each.num_untimed)] if has_untimed else []),
            )
            for each in found
        ),
    )


def _build(run: Run) -> list[Block]:
    found = spent(run)
    label = "Trials and device hours by how the trials ended; the numbers are in the table below"
    return [
        Figure(chart=waste_chart(found), label=label),
        Listing(table=waste_table(found)),
    ]


SECTION = Section(name="waste", heading="Where trials and time went", build=_build)
