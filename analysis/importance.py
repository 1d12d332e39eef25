"""How much each setting matters: for the metric, for the peak and for fitting the budget.

Asked of Optuna's evaluators over all trials that say something about it. Knows nothing of files
or of drawing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import is_completed, is_drawable, is_over_budget, metrics_of, peaks_of
from analysis.load import Run
from analysis.pareto import Floats
from analysis.selection import is_candidate
from analysis.settings import is_text, varied_settings
from patchtrain.record import TrialStatus

MOST_TRIALS_OF_FANOVA = 200
"""More take fANOVA minutes; mean decrease in impurity, over the same kind of forest, seconds."""

MOST_TRIALS = 1000
"""Of more a sample is asked, drawn once: it says the same in a tenth of the time."""

FEWEST_TRIALS = 8
"""Of fewer a forest learns nothing."""

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each varied setting matters for one target."""

    target: str
    """`metric`, `peak` or `feasibility`."""
    shares: Mapping[str, float]
    """Setting -> share; they add up to 1, the largest first. Empty: see `why_not`."""
    num_trials: int
    evaluator: str
    """Which of Optuna's evaluators was asked."""
    why_not: str | None = None
    """Why there is no answer."""


def importances(run: Run) -> tuple[Importance, ...]:
    """Return the importance of every varied setting for metric, peak and feasibility."""
    targets = {
        "metric": np.where(is_candidate(run.trials), metrics_of(run.trials), np.nan),
        "peak": known_peaks(run.trials),
        "feasibility": feasibility(run.trials),
    }
    settings = varied_settings(run)
    return tuple(_importance(run.trials, settings, *item) for item in targets.items())


def known_peaks(trials: pd.DataFrame) -> Floats:
    """Return the peak of completed trials, the prediction of others; NaN where neither is known.

    What a trial held when it ran out of memory is no peak: it would have gone on.
    """
    predicted = trials["predicted_peak_bytes"].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(
        is_completed(trials) & np.isfinite(peaks_of(trials)), peaks_of(trials), predicted
    )


def feasibility(trials: pd.DataFrame) -> Floats:
    """Return 1 where a trial fitted its budget, 0 where it did not, NaN where that is not known."""
    status = trials["status"].to_numpy(dtype=object)
    has_budget = trials["budget_bytes"].notna().to_numpy(dtype=bool)
    refused = (TrialStatus.OUT_OF_MEMORY.value, TrialStatus.PREDICTED_INFEASIBLE.value)
    over = np.isin(status, refused) | is_over_budget(trials)
    ran = np.isin(status, (TrialStatus.COMPLETED.value, TrialStatus.STOPPED_EARLY.value))
    return np.where(has_budget & (over | ran), np.where(over, 0.0, 1.0), np.nan)


def _importance(
    trials: pd.DataFrame, settings: tuple[str, ...], target: str, values: Floats
) -> Importance:
    places = np.flatnonzero(is_drawable(values))
    if len(places) > MOST_TRIALS:
        places = np.sort(np.random.default_rng(SEED).choice(places, MOST_TRIALS, replace=False))
    rows, values = trials.iloc[places], values[places]
    varied = [name for name in settings if rows[name].nunique(dropna=False) > 1]
    evaluator = "fANOVA" if len(rows) <= MOST_TRIALS_OF_FANOVA else "mean decrease in impurity"
    why_not = None
    if len(rows) < FEWEST_TRIALS:
        why_not = f"only {len(rows)} trials say something about it, {FEWEST_TRIALS} are needed"
    elif not varied:
        why_not = "no setting was varied"
    elif np.ptp(values) == 0:
        why_not = f"it is the same in all {len(rows)} trials"
    filled = pd.DataFrame({name: _filled(rows[name]) for name in varied})
    shares = {} if why_not else _shares(filled, values, evaluator)
    if not shares and not why_not:
        why_not = "the trials do not say"
    return Importance(
        target=target,
        shares=shares,
        num_trials=len(rows),
        evaluator=evaluator,
        why_not=why_not,
    )


def _filled(column: pd.Series) -> pd.Series:
    """Return a column with a value of its own where a trial does not have the setting.

    A tree can then part those trials from the others; left out, a search over settings that depend
    on each other would lose most trials.
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
    from optuna.importance import (
        FanovaImportanceEvaluator,
        MeanDecreaseImpurityImportanceEvaluator,
        get_param_importances,
    )

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of the study in memory
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
    ask: Any = (
        FanovaImportanceEvaluator(n_trees=32, seed=SEED)
        if evaluator == "fANOVA"
        else MeanDecreaseImpurityImportanceEvaluator(n_trees=32, seed=SEED)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(study, evaluator=ask)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: float(share) for name, share in ranked if np.isfinite(share)}


def _distribution(column: pd.Series) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if is_text(column):
        return CategoricalDistribution(sorted(column.unique()))
    low, high = float(column.min()), float(column.max())
    return FloatDistribution(low, high, log=low > 0 and high > 10 * low)
