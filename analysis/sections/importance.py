"""What each setting matters for: the metric, the peak, fitting the budget.

Optuna's evaluators answer this from all trials whose metric, peak or outcome is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.draw.charts import CYCLE, Axis, Bars, Chart, Panel
from analysis.draw.tables import Cell, Column, Table, text_column
from analysis.numbers.columns import (
    floats,
    has_status,
    is_candidate,
    is_completed,
    is_drawable,
    is_over_budget,
    metrics,
    peaks,
)
from analysis.numbers.varied import headings, is_text, varied_settings
from analysis.pareto import Floats
from analysis.runs.run import Run, once
from analysis.sections.section import Block, Figure, Listing, Section, Text
from analysis.text import UNKNOWN
from patchtrain.record import TrialStatus

MOST_TRIALS_OF_FANOVA = 200
"""Beyond this fANOVA takes minutes; mean decrease in impurity, over the same forest, seconds."""

MOST_TRIALS = 1000
"""Beyond this the evaluator is given a random sample: the same answer in a tenth of the time."""

FEWEST_TRIALS = 8
"""A forest learns nothing from fewer."""

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each varied setting matters for one target."""

    target: str
    """`metric`, `peak` or `feasibility`."""
    shares: Mapping[str, float]
    """Setting -> share, the largest first; they add up to 1. Empty where `why_not` is given."""
    num_trials: int
    evaluator: str
    """The one of Optuna's evaluators that answered."""
    why_not: str | None = None
    """Why there is no answer."""


@once
def importances(run: Run) -> tuple[Importance, ...]:
    """Return the importance of every varied setting for metric, peak and feasibility."""
    targets = {
        "metric": np.where(is_candidate(run), metrics(run), np.nan),
        "peak": known_peaks(run),
        "feasibility": feasibility(run),
    }
    settings = varied_settings(run)
    return tuple(_importance(run.trials, settings, *item) for item in targets.items())


def known_peaks(run: Run) -> Floats:
    """Return the peak of completed trials, the prediction of others; NaN where neither is known.

    What a trial held when it ran out of memory does not count: it would have needed more.
    """
    measured = is_completed(run) & np.isfinite(peaks(run))
    return np.where(measured, peaks(run), floats(run.trials, "predicted_peak_bytes"))


def feasibility(run: Run) -> Floats:
    """Return 1 where a trial fitted its budget, 0 where it did not, NaN where that is unknown."""
    has_budget = run.trials["budget_bytes"].notna().to_numpy(dtype=bool)
    refused = has_status(run, TrialStatus.OUT_OF_MEMORY, TrialStatus.PREDICTED_INFEASIBLE)
    over = refused | is_over_budget(run)
    ran = has_status(run, TrialStatus.COMPLETED, TrialStatus.STOPPED_EARLY)
    return np.where(has_budget & (over | ran), np.where(over, 0.0, 1.0), np.nan)


def _importance(
    trials: pd.DataFrame, settings: tuple[str, ...], target: str, values: Floats
) -> Importance:
    places = _sample(np.flatnonzero(is_drawable(values)))
    rows, values = trials.iloc[places], values[places]
    varied = [name for name in settings if rows[name].nunique(dropna=False) > 1]
    evaluator = "fANOVA" if len(rows) <= MOST_TRIALS_OF_FANOVA else "mean decrease in impurity"
    why_not = _why_not(varied, values)
    shares = {}
    if why_not is None:
        filled = pd.DataFrame({name: _filled(rows[name]) for name in varied})
        shares = _shares(filled, values, evaluator)
        why_not = None if shares else "the trials do not say"
    return Importance(
        target=target,
        shares=shares,
        num_trials=len(rows),
        evaluator=evaluator,
        why_not=why_not,
    )


def _sample(places: np.ndarray) -> np.ndarray:
    if len(places) <= MOST_TRIALS:
        return places
    return np.sort(np.random.default_rng(SEED).choice(places, MOST_TRIALS, replace=False))


def _why_not(varied: Sequence[str], values: Floats) -> str | None:
    """Return why there is nothing to learn from `values`; None where there is something."""
    if len(values) < FEWEST_TRIALS:
        return f"only {len(values)} trials say something about it, {FEWEST_TRIALS} are needed"
    if not varied:
        return "no setting was varied"
    return f"it is the same in all {len(values)} trials" if np.ptp(values) == 0 else None


def _filled(column: pd.Series) -> pd.Series:
    """Return a column with one more value where a trial does not have the setting.

    A tree can then split those trials off. Leaving them out would lose most trials of a search over
    settings that depend on each other.
    """
    if not column.isna().any():
        return column
    if is_text(column):
        return column.fillna("")
    plain = column.astype("float64")
    low, high = plain.min(), plain.max()
    return plain.fillna(low - max(high - low, abs(low), 1.0))


def _shares(settings: pd.DataFrame, values: Floats, evaluator: str) -> dict[str, float]:
    import optuna
    from optuna.importance import get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # silence the study in memory
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(_study(settings, values), evaluator=_evaluator(evaluator))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: float(share) for name, share in ranked if np.isfinite(share)}


def _study(settings: pd.DataFrame, values: Floats) -> Any:
    import optuna

    distributions = {str(name): _distribution(settings[name]) for name in settings}
    plain = {name: settings[name].tolist() for name in distributions}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: column[index] for name, column in plain.items()},
                distributions=distributions,
                value=value,
            )
            for index, value in enumerate(values.tolist())
        ]
    )
    return study


def _evaluator(name: str) -> Any:
    from optuna.importance import FanovaImportanceEvaluator, MeanDecreaseImpurityImportanceEvaluator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both are marked as experimental
        if name == "fANOVA":
            return FanovaImportanceEvaluator(n_trees=32, seed=SEED)
        return MeanDecreaseImpurityImportanceEvaluator(n_trees=32, seed=SEED)


def _distribution(column: pd.Series) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if is_text(column):
        return CategoricalDistribution(sorted(column.unique()))
    low, high = float(column.min()), float(column.max())
    return FloatDistribution(low, high, log=low > 0 and high > 10 * low)


def _titles(metric_name: str) -> dict[str, str]:
    return {"metric": metric_name, "peak": "peak memory", "feasibility": "fitting the budget"}


def importance_chart(run: Run) -> Chart:
    """Return a panel for each target that has an answer."""
    panels = tuple(
        _panel(run, each, CYCLE[index])
        for index, each in enumerate(importances(run))
        if each.shares
    )
    return Chart(
        name="importance",
        title="What each setting matters for",
        panels=panels,
        columns=max(1, len(panels)),
    )


def _panel(run: Run, found: Importance, colour: str) -> Panel:
    names = [headings(run)[name] for name in found.shares]
    asked = f"{found.evaluator}, {found.num_trials} trials"
    bars = Bars(
        label=found.target,
        lengths=list(found.shares.values()),
        colour=colour,
        hover=[
            f"{name}: {share:.1%}\n{asked}"
            for name, share in zip(names, found.shares.values(), strict=True)
        ],
        texts=[f"{share:.0%}" for share in found.shares.values()],
        in_legend=False,
    )
    return Panel(
        title=f"for {_titles(run.metric_name)[found.target]}",
        x=Axis(title="importance", range=(0, 1.15)),
        y=Axis(title="", categories=tuple(names)),
        series=(bars,),
    )


def importance_table(run: Run) -> Table:
    """Return the importance of each setting for each target."""
    found = importances(run)
    names = list(dict.fromkeys(name for each in found for name in each.shares))
    titles = {"metric": run.metric_name, "peak": "Peak", "feasibility": "Fitting the budget"}
    return Table(
        name="importance",
        title="Importance of each setting",
        columns=(text_column("Setting"), *(Column(titles[each.target]) for each in found)),
        rows=tuple(
            (Cell(headings(run)[name]), *(_share_cell(each.shares.get(name)) for each in found))
            for name in names
        ),
    )


def _share_cell(share: float | None) -> Cell:
    return Cell(UNKNOWN if share is None else f"{share:.1%}", share)


def _build(run: Run) -> list[Block]:
    found = importances(run)
    evaluators = ", ".join(dict.fromkeys(each.evaluator for each in found))
    titles = _titles(run.metric_name)
    note = (
        "How much of the difference between trials each setting explains, by Optuna's evaluators "
        f"({evaluators}). Peaks are measured where the trial completed, else predicted. A setting "
        "can matter and still have no best value."
    )
    return [
        Figure(
            chart=importance_chart(run),
            label="Importance of each setting; the numbers are in the table below",
        ),
        Listing(table=importance_table(run), folded="As a table"),
        *(
            Text(text=f"For {titles[each.target]}: {each.why_not}.", look="muted")
            for each in found
            if each.why_not
        ),
        Text(text=note, look="note"),
    ]


SECTION = Section(name="importance", heading="What each setting matters for", build=_build)
