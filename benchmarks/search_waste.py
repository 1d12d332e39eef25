"""Trials lost to memory, and hypervolume: `BudgetSearch` against Ray's `OptunaSearch`.

    python benchmarks/search_waste.py         looks all trials up: minutes
    python benchmarks/search_waste.py --real  also trains some of the searches: under an hour

A contestant proposes one configuration at a time and is told at once how its trial ended; all launch
equally many. The trials are those of `record_trials.py`: one is determined by its configuration and
seed, so a trial that is looked up is the one that would have been trained. `--real` trains the
searches of a few seeds under the budget, two trials at a time, and holds each against the table; it
goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from ray.tune.search.optuna import OptunaSearch
from record_trials import TABLE, space, train

from analysis.pareto import hypervolume
from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, TrialStatus, read_rows, write_rows
from sweeps.prediction import Prediction, Predictor
from sweeps.records import infeasible_record
from sweeps.search import BudgetSearch, Suggestion
from sweeps.spaces import Space

Identity = tuple[tuple[str, Any], ...]
OURS, STOCK, RANDOM = "BudgetSearch", "OptunaSearch, TPE", "OptunaSearch, random"
NSGA2, ABLATION = "OptunaSearch, NSGA-II", "BudgetSearch, random"
LINES = {  # the colours of Okabe and Ito
    OURS: ("#0072B2", "-"),
    ABLATION: ("#CC79A7", (0, (6, 2))),
    STOCK: ("#D55E00", "--"),
    NSGA2: ("#009E73", "-."),
    RANDOM: ("#52606d", ":"),
}
POPULATION = 10
"""Of NSGA-II: its default of 50 would be random search for nearly all of so few trials."""
GOAL_GAIN = 1.2
MILESTONES = (10, 20, 30, 40, 60)
REAL_PARQUET = "search_waste_real.parquet"


@dataclass(frozen=True)
class Said:
    """What the real predictor said of a configuration, without the trace that it said it from."""

    predicted_peak_bytes: int
    predicted_reserved_bytes: int
    needed_bytes: int

    def fits(self, budget_bytes: int) -> bool:
        """Whether a budget holds it, on the CPU."""
        return self.needed_bytes <= budget_bytes


@dataclass(frozen=True)
class Known:
    """The recorded trials of a space, what is predicted of each, and a budget."""

    space: Space
    trials: Mapping[Identity, TrialRecord]
    predictions: Mapping[Identity, Said]
    budget_bytes: int

    def record(self, params: Mapping[str, Any]) -> TrialRecord:
        """Return the recorded trial of a draw."""
        return self.trials[self.space.identity(params)]

    def predict(self, config: TrialConfig) -> Prediction:
        """Return what `config`, a draw as a trial, will hold."""
        params = {name: getattr(config, name) for name in self.space.distributions}
        return self.predictions[self.space.identity(params)]

    def share(self, records: Sequence[TrialRecord]) -> float:
        """Return the hypervolume of `records` inside the budget; of all that fit it is 1."""
        return self._area(records) / self._area(tuple(self.trials.values()))

    def rectangle(self) -> float:
        """Return the area of all that fit, as a share of what one ideal trial would have."""
        fits = [
            r for r in self.trials.values() if (r.peak_allocated_bytes or 0) <= self.budget_bytes
        ]
        height = max(r.metric or 0.0 for r in fits) - self.worst_metric
        width = self.budget_bytes - min(r.peak_allocated_bytes or 0 for r in fits)
        return self._area(fits) / (height * width)

    @property
    def worst_metric(self) -> float:
        """The reference point's."""
        return min(r.metric for r in self.trials.values() if r.metric is not None)

    def _area(self, records: Sequence[TrialRecord]) -> float:
        metrics = [np.nan if r.metric is None else r.metric for r in records]
        peaks = [r.peak_allocated_bytes or np.nan for r in records]
        return hypervolume(metrics, peaks, self.worst_metric, self.budget_bytes)


class World(Protocol):
    """Where trials are run."""

    def run(self, trial_id: str, params: Mapping[str, Any]) -> TrialRecord:
        """Return the record of the trial of `params` under the budget."""


class Table:
    """Looks trials up; one with a peak over the budget has run out of memory."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def run(self, trial_id: str, params: Mapping[str, Any]) -> TrialRecord:
        """Return the recorded trial as it had ended under the budget."""
        budget, found = self._known.budget_bytes, self._known.record(params)
        named = dataclasses.replace(found, trial_id=trial_id, group=trial_id, budget_bytes=budget)
        if found.peak_allocated_bytes is None or found.peak_allocated_bytes <= budget:
            return named
        return dataclasses.replace(
            named, status=TrialStatus.OUT_OF_MEMORY, metric=None, peak_allocated_bytes=None
        )


class Real:
    """Trains the trials of one search, each in a process of `pool`, and keeps their rows in `path`.

    Searches are told apart in that file by `sweep`.
    """

    _lock = threading.Lock()

    def __init__(self, known: Known, sweep: str, path: Path, pool: Executor) -> None:
        self._known, self._sweep, self._path, self._pool = known, sweep, path, pool

    def run(self, trial_id: str, params: Mapping[str, Any]) -> TrialRecord:
        """Return the trial as an earlier run left it, or train it."""
        config = self._known.space.config(params, self._known.budget_bytes)
        for record in real_records(self._path, self._sweep):
            if record.trial_id == trial_id:
                if mismatch(record, config):
                    raise SystemExit(f"{self._path} is of other searches; move it away")
                return record
        row = self._pool.submit(train, config, trial_id).result() | {"sweep": self._sweep}
        with self._lock:
            write_rows(self._path, TrialRecord, [*read_rows(self._path), row])
        print(f"{self._sweep} {trial_id}: {row['status']}", flush=True)
        return TrialRecord.from_row(row)


class Contestant(Protocol):
    """A search under one budget."""

    num_refused: int

    def ask(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return the next trial's name and parameters; None: nothing is left that fits."""

    def tell(self, record: TrialRecord) -> None:
        """Take the record of the trial that was asked for last."""


class Ours:
    """`BudgetSearch` as a sweep uses it, with prediction before launch."""

    def __init__(self, known: Known, num_trials: int, seed: int, **settings: Any) -> None:
        self.num_refused = 0
        self._known = known
        self._search = BudgetSearch(
            known.space,
            [known.budget_bytes],
            num_trials=num_trials,
            sweep="search_waste",
            storage=InMemoryStorage(),
            seed=seed,
            predict=known.predict,
            refuse=self._refuse,
            **settings,
        )
        self.tell = self._search.tell

    def ask(self) -> tuple[str, Mapping[str, Any]] | None:
        """See `Contestant`."""
        suggestion = self._search.ask()
        return None if suggestion is None else (suggestion.trial_id, suggestion.params)

    def _refuse(self, suggestion: Suggestion, prediction: Prediction) -> TrialRecord:
        self.num_refused += 1
        config = self._known.space.config(suggestion.params, suggestion.budget_bytes)
        return infeasible_record(config, suggestion.trial_id, "search_waste", prediction)


class Stock:
    """Ray's `OptunaSearch`, told by its callbacks as Tune's loop tells it."""

    num_refused = 0

    def __init__(self, known: Known, sampler: BaseSampler) -> None:
        self._number = 0
        self._search = OptunaSearch(
            known.space.distributions,
            metric=["metric", "peak_allocated_bytes"],
            mode=["max", "min"],
            sampler=sampler,
        )

    def ask(self) -> tuple[str, Mapping[str, Any]] | None:
        """See `Contestant`."""
        trial_id = f"{self._number:05d}"
        self._number += 1
        return trial_id, self._search.suggest(trial_id) or {}

    def tell(self, record: TrialRecord) -> None:
        """See `Contestant`; of a trial that raised an error Tune passes no result on."""
        is_error = record.status is not TrialStatus.COMPLETED
        result = None if is_error else record.to_row()
        self._search.on_trial_complete(record.trial_id, result=result, error=is_error)


def contestant(name: str, known: Known, num_trials: int, seed: int) -> Contestant:
    """Return the contestant `name`, not begun."""
    if name == OURS:
        return Ours(known, num_trials, seed)
    if name == ABLATION:
        return Ours(known, num_trials, seed, sampler="random")
    if name == NSGA2:
        return Stock(known, NSGAIISampler(population_size=POPULATION, seed=seed))
    return Stock(known, TPESampler(seed=seed) if name == STOCK else RandomSampler(seed=seed))


def follow(searcher: Contestant, world: World, known: Known, num_trials: int) -> Iterator[dict]:
    """Run one search and yield a row for each trial that it launches."""
    records: list[TrialRecord] = []
    seen: set[str] = set()
    while len(records) < num_trials and (asked := searcher.ask()) is not None:
        record = world.run(*asked)
        searcher.tell(record)
        records.append(record)
        trial = known.record(asked[1]).trial_id
        yield {
            "number": len(records),
            "trial": trial,
            "over": record.status is TrialStatus.OUT_OF_MEMORY,
            "repeated": trial in seen,
            "refused": searcher.num_refused,
            "hypervolume": known.share(records),
        }
        seen.add(trial)


def look_up(known: Known, quantile: float, name: str, seed: int, num_trials: int) -> list[dict]:
    """Return the rows of one search whose trials are looked up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    rows = follow(contestant(name, known, num_trials, seed), Table(known), known, num_trials)
    return [{"quantile": quantile, "contestant": name, "seed": seed, **row} for row in rows]


def mismatch(record: TrialRecord, config: TrialConfig) -> list[str]:
    """Return the settings in which `record` is not of `config`."""
    as_text = {
        "aggregator",
        "patch_microbatch",
        "device",
        "budget",
    }  # a record words them otherwise
    names = {f.name for f in dataclasses.fields(config)} - as_text
    wrong = [
        n for n in sorted(names) if getattr(record, n, getattr(config, n)) != getattr(config, n)
    ]
    return wrong + ["budget"] * (record.budget_bytes != config.budget)


def load(table: Path) -> Known:
    """Return the recorded trials with their predictions; the budget is none yet."""
    recorded = space()
    assert recorded.base.device == "cpu"  # elsewhere a peak of tensors is not what a budget holds
    found = [TrialRecord.from_row(row) for row in read_rows(table)]
    trials = {recorded.identity(recorded.params(r)): r for r in found}
    points = {recorded.identity(point): point for point in recorded.points()}
    wrong = {name for r in found for name in mismatch(r, recorded.config(recorded.params(r)))}
    if wrong or not points.keys() <= trials.keys():
        raise SystemExit(
            f"{table}: {len(points.keys() & trials.keys())} of {len(points)} configurations of "
            f"record_trials.space(), other {sorted(wrong) or 'settings: none'}; "
            "run benchmarks/record_trials.py"
        )
    first = found[0]
    assert first.num_train_images is not None and first.num_val_images is not None
    predictor = Predictor(first.num_train_images, first.num_val_images, recorded.base.device)
    predictions = {}
    for identity, point in points.items():
        estimate = predictor(recorded.config(point))
        predictions[identity] = Said(
            estimate.predicted_peak_bytes, estimate.predicted_reserved_bytes, estimate.needed_bytes
        )
    return Known(recorded, {i: trials[i] for i in points}, predictions, 0)


def with_budget(known: Known, quantile: float) -> Known:
    """Return `known` with the budget that this share of the configurations is predicted to fit."""
    needed = [said.needed_bytes for said in known.predictions.values()]
    budget = int(np.quantile(needed, quantile, method="inverted_cdf"))
    return dataclasses.replace(known, budget_bytes=budget)


def main(argv: Sequence[str] | None = None) -> None:
    """Look the searches up, train those of `--real`, and write table, figure and raw numbers."""
    arguments = _parser().parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started below
    known = load(arguments.table)
    worlds = {quantile: with_budget(known, quantile) for quantile in arguments.budget_quantile}
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        running = [
            pool.submit(look_up, world, quantile, name, seed, arguments.num_trials)
            for seed in range(arguments.seeds)
            for quantile, world in worlds.items()
            for name in LINES
        ]
        frame = pd.DataFrame([row for search in running for row in search.result()])
    real = worlds[max(worlds)]
    path = arguments.out / REAL_PARQUET
    if arguments.real:
        run_real(real, path, arguments)
    frame.to_parquet(arguments.out / "search_waste.parquet", index=False)
    curves = {quantile: _curves(frame, quantile, arguments.num_trials) for quantile in worlds}
    _draw(curves, worlds, arguments.seeds, arguments.out / "search_waste.svg")
    report = _report(frame, curves, worlds, arguments) + _report_real(real, path)
    print(report)
    (arguments.out / "search_waste.md").write_text(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--num-trials", type=int, default=60)
    parser.add_argument("--budget-quantile", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--real", action="store_true", help="train under the largest budget, too")
    parser.add_argument("--real-seeds", type=int, default=3)
    parser.add_argument("--real-trials", type=int, default=30)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser


def run_real(known: Known, path: Path, arguments: argparse.Namespace) -> None:
    """Train what is missing of the searches of ours and stock; two trials run at a time."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    num_trials = arguments.real_trials

    def one(name: str, seed: int) -> None:
        world = Real(known, f"{name}, seed {seed}", path, pool)
        # of as many trials as when looked up: the searches plan by it
        searcher = contestant(name, known, arguments.num_trials, seed)
        list(follow(searcher, world, known, num_trials))

    with (
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
        ThreadPoolExecutor(2) as searches,
    ):
        seeds = range(arguments.real_seeds)
        for search in [searches.submit(one, n, s) for s in seeds for n in (OURS, STOCK)]:
            search.result()


def real_records(path: Path, sweep: str | None = None) -> list[TrialRecord]:
    """Return the trained trials, in their order; of one search or of all."""
    records = map(TrialRecord.from_row, read_rows(path))
    kept = [r for r in records if sweep in (None, r.sweep)]
    return sorted(kept, key=lambda r: (r.sweep or "", r.trial_id))


def _curves(frame: pd.DataFrame, quantile: float, num_trials: int) -> dict[str, np.ndarray]:
    """Return contestant -> hypervolume [seed, trials launched - 1]; one that ended early stays."""
    here = frame[frame["quantile"] == quantile]
    wide = {
        n: g.pivot(index="seed", columns="number", values="hypervolume")
        for n, g in here.groupby("contestant")
    }
    numbers = range(1, num_trials + 1)
    return {name: wide[name].reindex(columns=numbers).ffill(axis=1).to_numpy() for name in LINES}


def _goal(curves: Mapping[str, np.ndarray], number: int) -> str:
    """Return the row of the comparison of ours and stock after `number` trials."""
    ours, stock, random = (curves[name][:, number - 1] for name in (OURS, STOCK, RANDOM))
    gain, stock_gain = (np.median(each) - np.median(random) for each in (ours, stock))
    dice = np.random.default_rng(0)
    drawn = [
        np.median(each[dice.integers(len(each), size=(4000, len(each)))], axis=1)
        for each in (ours, stock, random)
    ]
    margin = (drawn[0] - drawn[2]) - GOAL_GAIN * (drawn[1] - drawn[2])
    low, high = np.quantile(margin, (0.025, 0.975))
    reached = np.flatnonzero(np.median(curves[OURS], axis=0) >= np.median(stock))
    needed = int(reached[0]) + 1 if reached.size else None
    kept = gain > 0 and gain >= GOAL_GAIN * stock_gain
    kept_by_half = needed is not None and needed <= number / 2
    ratio = f"{gain / stock_gain:.2f}" if stock_gain > 0 else "stock gains nothing"
    lost, won = (stock > ours).sum(), (ours > stock).sum()
    needs = "over all" if needed is None else f"{needed} ({needed / number:.2f})"
    return (
        f"| {number} | {gain:+.3f} | {stock_gain:+.3f} | {ratio} | {low:+.3f} to {high:+.3f} | "
        f"{_spread(ours - stock, '+.3f')} | {won} : {lost} | {needs} | "
        f"{'kept' if kept or kept_by_half else 'not kept'} |"
    )


def _spread(values: np.ndarray, form: str = ".3f") -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _report(
    frame: pd.DataFrame,
    curves: Mapping[float, Mapping[str, np.ndarray]],
    worlds: Mapping[float, Known],
    arguments: argparse.Namespace,
) -> str:
    known = next(iter(worlds.values()))
    names = ("torch", "optuna", "ray")
    versions = json.dumps({"python": platform.python_version(), **{n: version(n) for n in names}})
    base, any_trial = known.space.base, next(iter(known.trials.values()))
    lines = [
        "# Trials lost to memory, and hypervolume",
        "",
        f"`python benchmarks/search_waste.py --seeds {arguments.seeds} --num-trials "
        f"{arguments.num_trials}` writes this, the figure and search_waste.parquet; with `--real` "
        f"it also trains. {platform.machine()}, {os.cpu_count()} cores; {versions}",
        "",
        f"Looked up: in the searches of this section no trial was trained. The {len(known.trials)} "
        f"configurations of a space ({', '.join(known.space.distributions)}; {any_trial.dataset}, "
        f"generated slides of {base.image_size} px, {any_trial.num_train_images} to train and "
        f"{any_trial.num_val_images} to validate, {base.backbone}, {base.epochs} epochs, seed "
        f"{base.seed}) were each trained once without a budget (`record_trials.py`); a trial with a "
        "peak over the budget has run out of memory. All contestants draw from the same "
        f"distributions, one trial at a time, {arguments.num_trials} launched trials, "
        f"{arguments.seeds} seeds each; none is told anything beforehand.",
        "",
        "Budget: the quantile of the peaks that are predicted of all configurations, each counted "
        f"once. Hypervolume: area of ({any_trial.metric_name}, peak) up to the reference point "
        f"({known.worst_metric:g}, the worst of the table; the budget), as a share of the area that "
        f"all configurations inside the budget have. NSGA-II with a population of {POPULATION}. "
        f"{ABLATION}: the same without its sampler, prediction and no repeats alone.",
        "",
        "![Hypervolume against launched trials](search_waste.svg)",
    ]
    milestones = [n for n in MILESTONES if n <= arguments.num_trials]
    for quantile, world in worlds.items():
        fits = sum(said.fits(world.budget_bytes) for said in world.predictions.values())
        here = frame[frame["quantile"] == quantile]
        lines += [
            "",
            f"## Budget {world.budget_bytes} bytes: quantile {quantile:g}, {fits} of "
            f"{len(world.trials)} configurations fit",
            "",
            f"The attainable area is {world.rectangle():.2f} of the rectangle between the reference "
            "point and the best metric at the smallest peak. Medians over seeds (quartiles).",
            "",
            "| contestant | launched over budget | repeats | refused, not launched | "
            + " | ".join(f"after {number}" for number in milestones)
            + " |",
            "| --- | --- | --- | --- |" + " --- |" * len(milestones),
        ]
        for name in LINES:
            seeds = here[here["contestant"] == name].groupby("seed")
            counts = (seeds["over"].sum(), seeds["repeated"].sum(), seeds["refused"].max())
            cells = [_spread(count.to_numpy(), ".0f") for count in counts]
            cells += [_spread(curves[quantile][name][:, number - 1]) for number in milestones]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            "",
            f"{OURS} against {STOCK}. Gain: median less the median of {RANDOM}. Goal: "
            f"{GOAL_GAIN} times the gain after as many trials, or the same median in half of them.",
            "",
            f"| trials | gain | stock's gain | ratio | gain less {GOAL_GAIN} x stock's, 95 % "
            "(bootstrap over seeds) | ours less stock, by seed | seeds won : lost | "
            "trials for stock's median (share) | goal |",
            "| --- |" + " --- |" * 8,
            *(_goal(curves[quantile], number) for number in milestones),
        ]
    return "\n".join(lines) + "\n"


def _report_real(known: Known, path: Path) -> str:
    """Return the section of the trained searches; empty if none is of this table and budget."""
    rows = []
    agreed = total = 0
    for sweep in dict.fromkeys(r.sweep or "" for r in real_records(path)):
        trained = real_records(path, sweep)
        configs = [known.space.config(known.space.params(r), known.budget_bytes) for r in trained]
        if any(map(mismatch, trained, configs)):
            continue
        table = Table(known)
        looked_up = [table.run(r.trial_id, known.space.params(r)) for r in trained]
        same = sum(
            a.status is b.status
            and a.metric == b.metric
            and (a.metric is None or a.peak_allocated_bytes == b.peak_allocated_bytes)
            for a, b in zip(trained, looked_up, strict=True)
        )
        agreed, total = agreed + same, total + len(trained)
        over = sum(r.status is TrialStatus.OUT_OF_MEMORY for r in trained)
        numbers = [n for n in MILESTONES if n <= len(trained)]
        shares = ", ".join(f"{known.share(trained[:n]):.3f} after {n}" for n in numbers)
        rows.append(f"| {sweep} | {len(trained)} | {over} | {same} | {shares} |")
    if not rows:
        return ""
    lines = [
        "",
        f"## Trained under the budget of {known.budget_bytes} bytes",
        "",
        f"{agreed} of {total} trials ended as the table says: the same metric and peak to the last "
        "bit, or out of memory where the table's peak is over the budget. All rows: "
        f"{REAL_PARQUET}.",
        "",
        "| search | launched | over budget | as looked up | hypervolume |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _draw(
    curves: Mapping[float, Mapping[str, np.ndarray]],
    worlds: Mapping[float, Known],
    num_seeds: int,
    path: Path,
) -> None:
    """Write the figure: hypervolume against launched trials, median and quartiles."""
    with matplotlib.rc_context({"font.size": 10, "svg.hashsalt": "search_waste"}):
        figure = Figure(figsize=(6.2 * len(curves), 4.6), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
        for axes, (quantile, lines) in zip(panels, curves.items(), strict=True):
            ends = {}
            for name, (colour, style) in LINES.items():
                low, middle, high = np.quantile(lines[name], (0.25, 0.5, 0.75), axis=0)
                numbers = np.arange(1, len(middle) + 1)
                axes.fill_between(numbers, low, high, color=colour, alpha=0.12, linewidth=0)
                axes.plot(numbers, middle, color=colour, linestyle=style, linewidth=2)
                ends[name] = middle[-1]
            at = -np.inf
            for name in sorted(ends, key=lambda name: ends[name]):
                at = max(ends[name], at + 0.045)  # labels do not overlap
                axes.annotate(
                    name,
                    (numbers[-1] + 1, at),
                    color=LINES[name][0],
                    va="center",
                    annotation_clip=False,
                )
            fits = sum(
                s.fits(worlds[quantile].budget_bytes) for s in worlds[quantile].predictions.values()
            )
            axes.set_title(
                f"{fits} of {len(worlds[quantile].trials)} configurations fit the budget",
                loc="left",
                weight="bold",
            )
            axes.set_xlabel(f"launched trials (median and quartiles of {num_seeds} seeds)")
            axes.set_xlim(1, numbers[-1])
            axes.grid(axis="y", color="#e4e7eb")
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("hypervolume inside the budget, share of attainable")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
