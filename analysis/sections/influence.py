"""What the global patch does to training: its share of the gradient and its size, by form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.draw.axes import range_of_equals
from analysis.draw.charts import CYCLE, MARKS, Axis, Chart, Line, Panel
from analysis.runs.run import RUN, Run
from analysis.sections.section import Block, Figure, Section, Text, plural

SHARE, SIZE = "global_gradient_share", "global_size"
_FORM = ("global_pass", "fusion")
"""The settings that tell forms apart; the scale of g is told apart too."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """The mean over the trials of one form, epoch by epoch."""

    form: str
    num_trials: int
    epochs: tuple[int, ...]
    shares: tuple[float, ...]
    """Percent of the backbone's gradient, 0 to 100."""
    sizes: tuple[float, ...]
    """Size of g over that of Z; as many as `epochs`, NaN where unknown."""


def influences(run: Run) -> tuple[Influence, ...]:
    """Return what was measured of the global patch, form by form; empty where nothing was."""
    if SHARE not in run.epochs or SIZE not in run.epochs:
        return ()
    known = run.epochs.dropna(subset=["trial_id", "epoch", SHARE])
    if known.empty:
        return ()
    trials = run.trials.assign(form=[_form_of(row) for row in run.rows])
    joined = known.merge(trials[[RUN, "trial_id", "form"]], on=[RUN, "trial_id"])
    return tuple(_influence(str(form), rows) for form, rows in joined.groupby("form", sort=True))


def _form_of(row: dict[str, object]) -> str:
    parts = [str(row.get(name) or "?") for name in _FORM]
    scale = row.get("fusion_scale")
    return " ".join(parts if scale in (None, "none") else [*parts, "scaled"])


def _influence(form: str, rows: pd.DataFrame) -> Influence:
    means = rows.groupby("epoch", sort=True)[[SHARE, SIZE]].mean()
    return Influence(
        form=form,
        num_trials=len(rows[[RUN, "trial_id"]].drop_duplicates()),
        epochs=tuple(int(epoch) for epoch in means.index),
        shares=tuple(100 * float(share) for share in means[SHARE]),
        sizes=tuple(float(size) for size in means[SIZE]),
    )


def influence_chart(found: Sequence[Influence]) -> Chart:
    """Return both measures over the epochs, side by side."""
    sizes = [size for each in found for size in each.sizes if size == size]
    return Chart(
        name="influence",
        title="What the global patch does",
        panels=(
            Panel(
                x=Axis(title="epoch", whole=True),
                y=Axis(title="share of the gradient, %", range=(0, 100)),
                series=tuple(_line(each, place, each.shares) for place, each in enumerate(found)),
            ),
            Panel(
                x=Axis(title="epoch", whole=True),
                y=Axis(title="size of g over Z", range=range_of_equals(sizes)),
                series=tuple(
                    _line(each, place, each.sizes, in_legend=False)
                    for place, each in enumerate(found)
                ),
            ),
        ),
        columns=2,
    )


def _line(each: Influence, place: int, values: Sequence[float], *, in_legend: bool = True) -> Line:
    look = place % len(CYCLE)
    drawn = [(x, y) for x, y in zip(each.epochs, values, strict=True) if y == y]
    return Line(
        label=each.form,
        x=[x for x, _ in drawn],
        y=[y for _, y in drawn],
        colour=CYCLE[look],
        mark=MARKS[look],
        hover=[
            f"{each.form}, {plural(each.num_trials, 'trial')}\nepoch {x}: {y:.3g}" for x, y in drawn
        ],
        in_legend=in_legend,
    )


def _build(run: Run) -> list[Block]:
    found = influences(run)
    if not found:
        return [Text(text="No trial with a global patch has recorded epochs.", look="muted")]
    note = (
        "Means over the trials of each form, measured on one image at the start of each epoch. The "
        "share says how much of the backbone's gradient comes from the global patch; above 50 % it "
        "outweighs all sampled patches together. A filled global patch has no gradient. The size "
        "says how large its features are beside those of the patches that they join."
    )
    label = f"gradient share and size of the global patch over epochs, {len(found)} forms"
    return [Figure(chart=influence_chart(found), label=label), Text(text=note, look="note")]


SECTION = Section(name="influence", heading="What the global patch does", build=_build)
