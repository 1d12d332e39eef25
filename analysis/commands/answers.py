"""How an answer to "what is best" is printed, as text and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from analysis.numbers.rerun import config_name
from analysis.numbers.seeds import seeds_text
from analysis.numbers.selection import BudgetAnswer, why_nothing_fits
from analysis.numbers.varied import further_settings
from analysis.runs.run import RUN, Run
from analysis.settings import SETTINGS, describe, used_setting
from analysis.text import finite, format_metric
from patchtrain.units import format_bytes

_JSON_COLUMNS = ("trial_id", "metric_name", "metric", "peak_allocated_bytes")


def summary(each: BudgetAnswer, run: Run, label: str | None = None) -> str:
    """Return an answer in one line.

    Args:
        each: the answer.
        run: the run that answers.
        label: the question, if it is another than the best in a budget.
    """
    label = label or f"best in {each.budget_text}"
    if each.trial is None:
        return f"{label}: no completed trial fits"
    where = f" of {each.trial[RUN]}" if len(run.names) > 1 else ""
    return (
        f"{label}: {each.trial['metric_name'] or 'metric'} "
        f"{format_metric(each.trial['metric'])}, "
        f"peak {format_bytes(each.trial['peak_allocated_bytes'])}, "
        f"trial {each.trial['trial_id']}{where}: {describe(each.trial, further_settings(run))}"
        + (f"; over seeds {seeds_text(each.seeds)}" if each.seeds else "")
    )


def details(
    each: BudgetAnswer, run: Run, confidence: float | None = None, label: str | None = None
) -> str:
    """Return an answer as lines: the best model, how sure that is, and the command to train it."""
    if each.trial is None:
        return f"{each.budget_text}: {why_nothing_fits(run, each.budget_bytes)}"
    lines = [summary(each, run, label)]
    if confidence is not None and each.seeds is not None:
        bound = format_metric(each.seeds.lower_bound(confidence))
        lines.append(f"  with confidence {confidence:g} its mean over seeds is at least {bound}")
    if each.command is None:
        lines.append("  (no folder to train it again from)")
    else:
        lines.append(f"  {each.command}")
        folder = run.folders[each.trial[RUN]]
        name = config_name(each.trial)
        if not folder.exists(name):
            lines.append(f"  (its {folder.path_of(name)} is missing)")
    return "\n".join(lines)


def as_json(each: BudgetAnswer, run: Run, confidence: float | None = None) -> dict[str, Any]:
    """Return an answer as a mapping of recorded values."""
    trial, settings = each.trial, [*SETTINGS, *further_settings(run)]
    seeds = None if each.seeds is None else dataclasses.asdict(each.seeds)
    if seeds is not None and each.seeds is not None and confidence is not None:
        seeds |= {"confidence": confidence, "lower_bound": each.seeds.lower_bound(confidence)}
    found = {
        "budget_bytes": each.budget_bytes,
        "run": None if trial is None else trial[RUN],
        **{name: None if trial is None else trial[name] for name in _JSON_COLUMNS},
        "seeds": seeds,
        "settings": (
            None if trial is None else {name: used_setting(trial, name) for name in settings}
        ),
        "data_is_sample": run.data_is_sample,
        "command": each.command,
    }
    return {name: finite(value) for name, value in found.items()}
