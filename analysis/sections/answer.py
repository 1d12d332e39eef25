"""The answer: the best model in each budget, what it gains, and the command that trains it."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.draw.tables import Cell, Column, Table, bytes_cell, metric_cell, text_column
from analysis.numbers.seeds import seeds_text
from analysis.numbers.selection import BudgetAnswer, best_per_budget, why_nothing_fits
from analysis.numbers.varied import further_settings, shown_settings
from analysis.runs.run import RUN, Run
from analysis.sections.cells import run_cells, run_columns, setting_cells, setting_columns
from analysis.sections.section import Block, Bullets, Command, Heading, Listing, Section, Text
from analysis.settings import describe
from analysis.text import UNKNOWN, exact_size, format_metric

_RULES = (
    "A model counts for every budget that its peak fits (peak_allocated_bytes at most the budget). "
    "Only completed trials count: one that was stopped early trained for fewer epochs than asked. "
    "Gain is over the next smaller budget. GB is 10\N{SUPERSCRIPT NINE} bytes."
)


def headline(answers: Sequence[BudgetAnswer], run: Run) -> list[str]:
    """Return one sentence a budget: the best model in it, and what it gains over the one below."""
    if any(answer.trial for answer in answers):
        return [_sentence(answer, run) for answer in answers]
    if run.trials.empty:
        return ["No trial is recorded yet: run the sweep, then make the report again."]
    why = why_nothing_fits(run, None)
    return [f"{why[0].upper()}{why[1:]}."]


def _sentence(answer: BudgetAnswer, run: Run) -> str:
    limit = answer.budget_bytes
    within = "Without a limit" if limit is None else f"In {exact_size(limit)}"
    trial = answer.trial
    if trial is None:
        return f"{within} no trial completed."
    best = f"{within} the best {run.metric_name} is {format_metric(trial['metric'])}"
    if answer.gain is not None and answer.gain_over_bytes is not None:
        below = exact_size(answer.gain_over_bytes)
        if answer.gain == 0:
            return f"{best}, the same model as in {below}: the extra memory brought nothing."
        best = f"{best}, {format_metric(answer.gain)} more than in {below}"
    where = f" (of {trial[RUN]})" if len(run.names) > 1 else ""
    return f"{best}: {describe(trial, further_settings(run))}{where}."


def best_table(run: Run) -> Table:
    """Return the best model within each budget."""
    answers = best_per_budget(run)
    has_seeds = any(answer.seeds for answer in answers)
    columns = (
        Column("Budget"),
        Column(run.metric_name),
        *([Column("Over seeds")] if has_seeds else []),
        Column("Gain"),
        Column("Peak"),
        *setting_columns(run),
        *run_columns(len(run.names) > 1),
        text_column("Trial"),
    )
    rows = tuple(_row(answer, run, has_seeds) for answer in answers)
    return Table(name="best", title="Best in each budget", columns=columns, rows=rows)


def _row(answer: BudgetAnswer, run: Run, has_seeds: bool) -> tuple[Cell, ...]:
    trial = answer.trial
    budget = Cell(answer.budget_text, answer.budget_bytes)
    if trial is None:
        return (budget, Cell("no completed trial fits"))
    gain = UNKNOWN if answer.gain is None else f"+{format_metric(answer.gain)}"
    return (
        budget,
        metric_cell(trial["metric"]),
        *([Cell(seeds_text(answer.seeds))] if has_seeds else []),
        Cell(gain, answer.gain),
        bytes_cell(trial["peak_allocated_bytes"]),
        *setting_cells(trial, tuple(shown_settings(run))),
        *run_cells(trial[RUN], len(run.names) > 1),
        Cell(trial["trial_id"]),
    )


def _commands(answers: Sequence[BudgetAnswer]) -> list[Block]:
    found = [
        Command(text=each.command, label=each.budget_text, title=f"best in {each.budget_text}")
        for each in answers
        if each.command
    ]
    return [Heading(text="Train it"), *found] if found else []


def _build(run: Run) -> list[Block]:
    answers = best_per_budget(run)
    has_best = any(answer.trial for answer in answers)
    return [
        Bullets(items=headline(answers, run)),
        Listing(table=best_table(run), look="best", is_shown=has_best),
        *_commands(answers),
        Text(text=_RULES, look="note"),
    ]


SECTION = Section(name="answer", heading="The answer", build=_build)
