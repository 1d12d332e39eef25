"""Where trials and time went, by what came of them."""

from __future__ import annotations

from analysis.charts import HATCHES, RUN_CYCLE, Axis, Bars, Chart, Panel
from analysis.progress import Outcome, Spent


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
