"""How a run was made: its command, hardware, data, seeds and versions."""

from __future__ import annotations

import pandas as pd

from analysis.numbers.columns import has_status, is_replicate
from analysis.runs.run import Run
from analysis.runs.sweep import parse_versions
from analysis.sections.section import Block, Command, Facts, Heading, Section
from analysis.text import NOT_TO_FIT
from patchtrain.record import TrialStatus


def facts(run: Run, name: str) -> dict[str, str]:
    """Return what made the run of that name: hardware, data, how budgets were enforced."""
    trials = run.trials_of(name)
    sweep = run.sweeps[name]
    folder = run.folders.get(name)
    sample = " (sample data)" if trials["data_is_sample"].fillna(False).any() else ""
    found = versions(run, name)
    return {
        "Command": sweep.command or "unknown",
        "Started": sweep.started_at or _earliest(trials["started_at"]),
        "Trials": _trial_counts(run, name),
        "Data set": f"{_distinct(trials['dataset'])}{sample}",
        "Device": _distinct(trials["device"]),
        "Budget enforced by": _distinct(trials["cap_level"]),
        "Precision": _distinct(trials["precision"]),
        "Seeds": _distinct(trials["seed"]),
        "Folder": "none" if folder is None else folder.text,
        "Versions": ", ".join(f"{name} {version}" for name, version in found.items()) or "unknown",
    }


def _trial_counts(run: Run, name: str) -> str:
    """Return how many trials were launched and asked for, refused, and repeated."""
    here = run.masks_by_name[name]
    replicate = here & is_replicate(run)
    refused = here & has_status(run, TrialStatus.PREDICTED_INFEASIBLE)
    text = str(int((here & ~replicate & ~refused).sum()))
    if run.sweeps[name].num_trials:
        text += f" of {run.sweeps[name].num_trials} asked for"
    if refused.any():
        text += f", {int(refused.sum())} not launched as {NOT_TO_FIT}"
    return text + (f", {int(replicate.sum())} with further seeds" if replicate.any() else "")


def versions(run: Run, name: str) -> dict[str, str]:
    """Return package -> version of a run and its trials; several where trials differ."""
    trials = run.trials_of(name)
    found: dict[str, set[str]] = {}
    of_trials = (parse_versions(text) for text in trials["versions"].dropna().unique())
    for mapping in (run.sweeps[name].versions, *of_trials):
        for package, version in mapping.items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found[package])) for package in sorted(found)}


def _distinct(column: pd.Series) -> str:
    return ", ".join(sorted(map(str, column.dropna().unique()))) or "unknown"


def _earliest(times: pd.Series) -> str:
    known = times.dropna()
    return "unknown" if known.empty else known.min().isoformat(sep=" ", timespec="seconds")


def _build(run: Run) -> list[Block]:
    blocks: list[Block] = []
    for name, sweep in run.sweeps.items():
        blocks += [Heading(text=name)] if len(run.names) > 1 else []
        blocks.append(Facts(facts=facts(run, name)))
        blocks += [Command(text=sweep.command, label="the run")] if sweep.command else []
    return blocks


SECTION = Section(name="made", heading="How this run was made", build=_build)
