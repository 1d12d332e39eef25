"""Trials lost to memory, and hypervolume: `BudgetSearch` against Ray's `OptunaSearch`.

    python benchmarks/search_waste.py         takes all trials from the table, in minutes
    python benchmarks/search_waste.py --real  also trains some of the searches, in under an hour

A contestant proposes one configuration at a time and is told at once how its trial ended; all
launch equally many. The trials are those of `record_trials.py`: one is determined by its
configuration and seed, so a trial that is looked up is the one that would have been trained.
`--real` trains the searches of a few seeds under the budget, two trials at a time, holds each
trial against the table, and goes on where it was stopped.

Longer than 400 lines because all contestants stand in one file, which can be read and run alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

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
from sweeps.results.records import infeasible_record
from sweeps.search.budget_search import BudgetSearch, Suggestion
from sweeps.search.prediction import Prediction, Predictor
from sweeps.search.space import Space

OURS, ABLATION = "BudgetSearch", "BudgetSearch, random"
STOCK, TOLD = "OptunaSearch, TPE", "OptunaSearch, TPE, told"
NSGA2, RANDOM = "OptunaSearch, NSGA-II", "OptunaSearch, random"
LINES: Mapping[str, tuple[str, Any]] = {  # the colours of Okabe and Ito
    OURS: ("#0072B2", "-"),
    ABLATION: ("#56B4E9", (0, (6, 2))),
    STOCK: ("#D55E00", "-"),
    TOLD: ("#CC79A7", (0, (6, 2))),
    NSGA2: ("#009E73", "-."),
    RANDOM: ("#52606d", ":"),
}
POPULATION = 10
"""Of NSGA-II: its default of 50 would make nearly all of so few trials random ones."""
GOAL = 1.2
MILESTONES = (10, 20, 30, 40, 60)
AS_TEXT = {"encoder", "aggregator", "layout", "patch_microbatch", "device", "budget"}
"""Settings that a record words otherwise than its configuration."""
REAL_PARQUET = "search_waste_real.parquet"
SVG: Any = {"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "search_waste"}

Params = Mapping[str, Any]
Run = Callable[[str, Params], TrialRecord]


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
class World:
    """Every configuration of a space with its trial, what is predicted of it, and a budget."""

    space: Space
    trials: Mapping[tuple, TrialRecord]
    predictions: Mapping[tuple, Said]
    budget_bytes: int = 0

    @property
    def num_fitting(self) -> int:
        """Configurations that are predicted to fit."""
        return sum(said.fits(self.budget_bytes) for said in self.predictions.values())

    @property
    def worst_metric(self) -> float:
        """The reference point's."""
        return min(r.metric for r in self.trials.values() if r.metric is not None)

    def with_budget(self, quantile: float) -> World:
        """Return it with the budget that this share of the configurations is predicted to fit."""
        needed = [said.needed_bytes for said in self.predictions.values()]
        return replace(self, budget_bytes=int(np.quantile(needed, quantile, method="inverted_cdf")))

    def predict(self, config: TrialConfig) -> Prediction:
        """Return what the trial of `config` will hold."""
        params = {name: getattr(config, name) for name in self.space.distributions}
        return self.predictions[self.space.identity(params)]

    def look_up(self, trial_id: str, params: Params) -> TrialRecord:
        """Return how the trial would have ended; with a peak over the budget, out of memory."""
        found, budget = self.trials[self.space.identity(params)], self.budget_bytes
        named = replace(found, trial_id=trial_id, group=trial_id, budget_bytes=budget)
        if found.peak_allocated_bytes is not None and found.peak_allocated_bytes > budget:
            over = TrialStatus.OUT_OF_MEMORY
            return replace(named, status=over, metric=None, peak_allocated_bytes=None)
        return named

    def area(self, records: Sequence[TrialRecord]) -> float:
        """Return the hypervolume of those inside the budget, in bytes times metric."""
        metrics = [np.nan if r.metric is None else r.metric for r in records]
        peaks = [r.peak_allocated_bytes or np.nan for r in records]
        return hypervolume(metrics, peaks, self.worst_metric, self.budget_bytes)

    def share(self, records: Sequence[TrialRecord]) -> float:
        """Return their hypervolume as a share of what all configurations have."""
        return self.area(records) / self.area(list(self.trials.values()))

    def rectangle(self) -> float:
        """Return the hypervolume of all as a share of that of one ideal trial."""
        trials = [self.look_up(r.trial_id, self.space.params(r)) for r in self.trials.values()]
        height = max(r.metric for r in trials if r.metric is not None) - self.worst_metric
        width = self.budget_bytes - min(r.peak_allocated_bytes or np.inf for r in trials)
        return self.area(trials) / (height * width)


def load(table: Path) -> World:
    """Return the recorded space with its predictions, without a budget."""
    recorded = space()
    assert recorded.base.device == "cpu"  # elsewhere a budget holds more than the peak of tensors
    found = [TrialRecord.from_row(row) for row in read_rows(table)]
    trials = {recorded.identity(recorded.params(record)): record for record in found}
    points = {recorded.identity(point): point for point in recorded.points()}
    num_known = len(points.keys() & trials.keys())
    others = {name for r in found for name in mismatch(r, recorded.config(recorded.params(r)))}
    if others or num_known < len(points):
        raise SystemExit(
            f"{table} has {num_known} of the {len(points)} configurations of record_trials.space()"
            f", with other values of: {', '.join(sorted(others)) or 'nothing'}; move it away where "
            "values differ, and run benchmarks/record_trials.py"
        )
    sizes = (found[0].num_train_images or 0, found[0].num_val_images or 0)
    predictor = Predictor(*sizes, recorded.base.device)
    predictions = {}
    for identity, point in points.items():
        found_ahead = predictor(recorded.config(point))
        predictions[identity] = Said(
            found_ahead.predicted_peak_bytes,
            found_ahead.predicted_reserved_bytes,
            found_ahead.needed_bytes,
        )
    return World(recorded, {identity: trials[identity] for identity in points}, predictions)


def mismatch(record: TrialRecord, config: TrialConfig) -> list[str]:
    """Return the settings in which `record` is not of `config`."""
    shared = {f.name for f in fields(config)} & {f.name for f in fields(record)} - AS_TEXT
    wrong = [name for name in shared if getattr(record, name) != getattr(config, name)]
    return wrong + ["budget"] * (record.budget_bytes != config.budget)


class Ours:
    """`BudgetSearch` as a sweep uses it, with prediction before launch."""

    def __init__(self, world: World, num_trials: int, seed: int, **settings: Any) -> None:
        self.num_refused = 0
        self._world = world
        self._search = BudgetSearch(
            world.space,
            [world.budget_bytes],
            num_trials=num_trials,
            sweep="search_waste",
            storage=InMemoryStorage(),
            seed=seed,
            predict=world.predict,
            refuse=self._refuse,
            **settings,
        )
        self.tell = self._search.tell

    def ask(self) -> tuple[str, Params] | None:
        """Return the next trial; None: nothing is left that fits."""
        suggestion = self._search.ask()
        return None if suggestion is None else (suggestion.trial_id, suggestion.params)

    def _refuse(self, suggestion: Suggestion, prediction: Prediction) -> TrialRecord:
        self.num_refused += 1
        config = self._world.space.config(suggestion.params, suggestion.budget_bytes)
        return infeasible_record(config, suggestion.trial_id, "search_waste", prediction)


class Stock:
    """Ray's `OptunaSearch`, told by its callbacks as Tune tells it: of an error without a result.

    Args:
        instead: what a trial reports that catches that it ran out of memory; None: it does not.
    """

    num_refused = 0

    def __init__(
        self, world: World, sampler: BaseSampler, instead: dict[str, Any] | None = None
    ) -> None:
        self._number = 0
        self._instead = instead
        self._search = OptunaSearch(
            world.space.distributions,
            metric=["metric", "peak_allocated_bytes"],
            mode=["max", "min"],
            sampler=sampler,
        )

    def ask(self) -> tuple[str, Params]:
        """Return the next trial."""
        trial_id = f"{self._number:05d}"
        self._number += 1
        return trial_id, self._search.suggest(trial_id) or {}

    def tell(self, record: TrialRecord) -> None:
        """Learn from the trial."""
        fits = record.status is TrialStatus.COMPLETED
        result = record.to_row() if fits else self._instead
        self._search.on_trial_complete(record.trial_id, result, error=result is None)


def contestant(name: str, world: World, num_trials: int, seed: int) -> Ours | Stock:
    """Return a contestant that has not begun."""
    if name in (OURS, ABLATION):
        settings = {} if name == OURS else {"sampler": "random"}
        return Ours(world, num_trials, seed, **settings)
    if name == TOLD:
        instead = {"metric": 0.0, "peak_allocated_bytes": world.budget_bytes}
        return Stock(world, TPESampler(seed=seed), instead)
    if name == NSGA2:
        return Stock(world, NSGAIISampler(population_size=POPULATION, seed=seed))
    return Stock(world, TPESampler(seed=seed) if name == STOCK else RandomSampler(seed=seed))


def follow(searcher: Ours | Stock, run: Run, world: World, num_trials: int) -> Iterator[dict]:
    """Run one search and yield a row for each trial that it launches."""
    records: list[TrialRecord] = []
    seen: set[str] = set()
    while len(records) < num_trials and (asked := searcher.ask()) is not None:
        records.append(run(*asked))
        searcher.tell(records[-1])
        trial = world.trials[world.space.identity(asked[1])].trial_id
        yield {
            "number": len(records),
            "trial": trial,
            "over": records[-1].status is TrialStatus.OUT_OF_MEMORY,
            "repeated": trial in seen,
            "refused": searcher.num_refused,
            "hypervolume": world.share(records),
        }
        seen.add(trial)


def look_up(world: World, quantile: float, name: str, seed: int, num_trials: int) -> list[dict]:
    """Return the rows of one search whose trials are looked up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    rows = follow(contestant(name, world, num_trials, seed), world.look_up, world, num_trials)
    return [{"quantile": quantile, "contestant": name, "seed": seed, **row} for row in rows]


def run_real(world: World, path: Path, arguments: argparse.Namespace) -> None:
    """Train what `path` lacks of the searches of ours and stock, two trials at a time."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = threading.Lock()

    def one(name: str, seed: int, pool: Executor) -> None:
        sweep = f"{name}, seed {seed}"
        known = {record.trial_id: record for record in real_searches(path).get(sweep, ())}

        def run(trial_id: str, params: Params) -> TrialRecord:
            config = world.space.config(params, world.budget_bytes)
            if trial_id in known:
                if mismatch(known[trial_id], config):
                    raise SystemExit(f"{path} is of other searches; move it away")
                return known[trial_id]
            row = pool.submit(train, config, trial_id).result() | {"sweep": sweep}
            with lock:
                write_rows(path, TrialRecord, [*read_rows(path), row])
            print(f"{sweep}: {trial_id} {row['status']}", flush=True)
            return TrialRecord.from_row(row)

        # planned for as many trials as when looked up
        searcher = contestant(name, world, arguments.num_trials, seed)
        list(follow(searcher, run, world, arguments.real_trials))

    with ProcessPoolExecutor(2, get_context("spawn")) as pool, ThreadPoolExecutor(2) as threads:
        seeds = range(arguments.real_seeds)
        for search in [threads.submit(one, n, s, pool) for s in seeds for n in (OURS, STOCK)]:
            search.result()


def real_searches(path: Path) -> dict[str, list[TrialRecord]]:
    """Return the trials that were trained, of each search in their order."""
    searches: dict[str, list[TrialRecord]] = {}
    for row in sorted(read_rows(path), key=lambda row: (row["sweep"], row["trial_id"])):
        searches.setdefault(row["sweep"], []).append(TrialRecord.from_row(row))
    return searches


def main(argv: Sequence[str] | None = None) -> None:
    """Look the searches up, train those of `--real`, and write table, figure and raw numbers."""
    arguments = _parser().parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started below
    world, num_trials = load(arguments.table), arguments.num_trials
    worlds = {quantile: world.with_budget(quantile) for quantile in arguments.budget_quantile}
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        running = [
            pool.submit(look_up, world, quantile, name, seed, num_trials)
            for seed in range(arguments.seeds)
            for quantile, world in worlds.items()
            for name in LINES
        ]
        rows = pd.DataFrame([row for search in running for row in search.result()])
    rows.to_parquet(arguments.out / "search_waste.parquet", index=False)
    widest = worlds[max(worlds)]
    if arguments.real:
        run_real(widest, arguments.out / REAL_PARQUET, arguments)
    curves = {quantile: _curves(rows, quantile, num_trials) for quantile in worlds}
    _draw(curves, worlds, arguments.out / "search_waste.svg")
    lines = _head(world, arguments)
    for quantile in worlds:
        lines += _section(rows, curves[quantile], quantile, worlds[quantile])
    lines += _real_section(widest, real_searches(arguments.out / REAL_PARQUET))
    print("\n".join(lines))
    (arguments.out / "search_waste.md").write_text("\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--num-trials", type=int, default=60)
    parser.add_argument("--budget-quantile", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--real", action="store_true", help="train, too, under the largest budget")
    parser.add_argument("--real-seeds", type=int, default=3)
    parser.add_argument("--real-trials", type=int, default=30)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser


def _curves(rows: pd.DataFrame, quantile: float, num_trials: int) -> dict[str, np.ndarray]:
    """Return contestant -> hypervolume [seed, trials launched - 1]; a search that ended stays."""
    table = rows[rows["quantile"] == quantile].pivot(
        index=["contestant", "seed"], columns="number", values="hypervolume"
    )
    table = table.reindex(columns=range(1, num_trials + 1)).ffill(axis=1)
    return {name: table.loc[name].to_numpy() for name in LINES}


def _head(world: World, arguments: argparse.Namespace) -> list[str]:
    packages = {name: version(name) for name in ("torch", "optuna", "ray")}
    versions = json.dumps({"python": platform.python_version(), **packages})
    base, first = world.space.base, next(iter(world.trials.values()))
    return [
        "# Trials lost to memory, and hypervolume",
        "",
        f"`python benchmarks/search_waste.py --seeds {arguments.seeds} --num-trials "
        f"{arguments.num_trials}` writes this, the figure and search_waste.parquet; with `--real` "
        f"it also trains. {platform.machine()}, {os.cpu_count()} cores; {versions}",
        "",
        f"**Looked up**: no trial was trained for the searches in the figure and beside it. All "
        f"{len(world.trials)} configurations of a space ({', '.join(world.space.distributions)}; "
        f"{first.dataset}, generated slides of {base.image_size} px, {first.num_train_images} to "
        f"train and {first.num_val_images} to validate, {base.backbone}, {base.epochs} epochs, "
        f"seed {base.seed}) were trained once without a budget (`record_trials.py`). A trial whose "
        "peak is over the budget has run out of memory.",
        "",
        f"Contestants draw from the same distributions, one trial at a time; {arguments.num_trials}"
        f" launched trials, {arguments.seeds} seeds, nothing told beforehand. NSGA-II has a "
        f"population of {POPULATION}. `{TOLD}`: the trial catches that it ran out of memory and "
        f"reports metric 0 at a peak of the budget. `{ABLATION}`: prediction and no repeats, with "
        "random draws in place of the sampler's.",
        "",
        "Budget: a quantile of the predicted peaks of all configurations. Hypervolume: area of "
        f"({first.metric_name}, peak) up to the reference point, the worst metric of the table "
        f"({world.worst_metric:.4g}) at the budget, as a share of the area of all configurations.",
        "",
        "![Hypervolume against launched trials](search_waste.svg)",
    ]


def _section(
    rows: pd.DataFrame, curves: Mapping[str, np.ndarray], quantile: float, world: World
) -> list[str]:
    """Return the results under one budget."""
    numbers = [number for number in MILESTONES if number <= curves[OURS].shape[1]]
    here = rows[rows["quantile"] == quantile]
    after = [f"after {number}" for number in numbers]
    results = []
    for name in LINES:
        seeds = here[here["contestant"] == name].groupby("seed")
        counts = (seeds["over"].sum(), seeds["repeated"].sum(), seeds["refused"].max())
        cells = [_spread(count.to_numpy(), ".0f") for count in counts]
        cells += [_spread(curves[name][:, number - 1]) for number in numbers]
        results.append([name, *cells])
    goals = [_goal(curves, rival, number) for rival in (STOCK, TOLD) for number in numbers]
    return [
        "",
        f"## Budget {world.budget_bytes:,} bytes, quantile {quantile:g}: {world.num_fitting} of "
        f"{len(world.trials)} configurations fit",
        "",
        f"Medians over seeds (quartiles). All configurations have {world.rectangle():.2f} of the "
        "rectangle from the reference point to the best metric at the smallest peak.",
        "",
        *_table(
            ["contestant", "launched over budget", "repeats", "refused, not launched", *after],
            results,
        ),
        "",
        f"Gain: median less that of {RANDOM}. Goal: {GOAL} times the rival's gain after as many "
        "trials, or the rival's median in half of them.",
        "",
        *_table(
            [
                "rival",
                "trials",
                "our gain",
                "rival's gain",
                "ratio",
                f"our gain less {GOAL} x rival's, 95 % (bootstrap over seeds)",
                "ours less rival's, by seed",
                "seeds won : lost",
                "trials to the rival's median (share)",
                "goal",
            ],
            goals,
        ),
    ]


def _goal(curves: Mapping[str, np.ndarray], rival: str, number: int) -> list[str]:
    """Return ours against `rival` after `number` trials."""
    three = [curves[name][:, number - 1] for name in (OURS, rival, RANDOM)]
    dice = np.random.default_rng(0)
    drawn = [np.median(dice.choice(each, (4000, len(each))), axis=1) for each in three]
    low, high = np.quantile(drawn[0] - drawn[2] - GOAL * (drawn[1] - drawn[2]), (0.025, 0.975))
    ours, other, random = (float(np.median(each)) for each in three)
    gain, rivals = ours - random, other - random
    reached = np.flatnonzero(np.median(curves[OURS], axis=0) >= other) + 1
    kept = gain >= GOAL * rivals > 0 or (gain > 0 >= rivals)
    kept = kept or (reached.size > 0 and reached[0] <= number / 2)
    difference = three[0] - three[1]
    return [
        rival,
        f"{number}",
        f"{gain:+.3f}",
        f"{rivals:+.3f}",
        f"{gain / rivals:.2f}" if rivals > 0 else "rival gains nothing",
        f"{low:+.3f} to {high:+.3f}",
        _spread(difference, "+.3f"),
        f"{(difference > 0).sum()} : {(difference < 0).sum()}",
        f"{reached[0]} ({reached[0] / number:.2f})" if reached.size else "not reached",
        "kept" if kept else "not kept",
    ]


def _real_section(world: World, searches: Mapping[str, Sequence[TrialRecord]]) -> list[str]:
    """Return how the trained searches ended and whether the table says so; of this world only."""
    results = []
    num_same = num_trained = 0
    for sweep, trained in searches.items():
        draws = [world.space.params(record) for record in trained]
        configs = [world.space.config(draw, world.budget_bytes) for draw in draws]
        if any(map(mismatch, trained, configs)):
            continue
        found = [world.look_up(r.trial_id, draw) for r, draw in zip(trained, draws, strict=True)]
        same = sum(_end(a) == _end(b) for a, b in zip(trained, found, strict=True))
        num_same, num_trained = num_same + same, num_trained + len(trained)
        over = sum(record.status is TrialStatus.OUT_OF_MEMORY for record in trained)
        numbers = [number for number in MILESTONES if number <= len(trained)]
        after = ", ".join(f"{world.share(trained[:number]):.3f} ({number})" for number in numbers)
        results.append([sweep, f"{len(trained)}", f"{over}", f"{same}", after])
    if not results:
        return []
    header = ["search", "launched", "over budget", "as looked up", "hypervolume (after trials)"]
    return [
        "",
        f"## Trained under the budget of {world.budget_bytes:,} bytes",
        "",
        f"{num_same} of {num_trained} trials ended as the table says: out of memory where its peak "
        "is over the budget, else with the same metric and peak to the last bit. All rows: "
        f"{REAL_PARQUET}.",
        "",
        *_table(header, results),
    ]


def _end(record: TrialRecord) -> tuple[Any, ...]:
    is_over = record.status is TrialStatus.OUT_OF_MEMORY  # its peak is where it was stopped
    return (record.status, record.metric, None if is_over else record.peak_allocated_bytes)


def _spread(values: np.ndarray, form: str = ".3f") -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _draw(
    curves: Mapping[float, Mapping[str, np.ndarray]], worlds: Mapping[float, World], path: Path
) -> None:
    """Write the figure: hypervolume against launched trials, median and quartiles."""
    with matplotlib.rc_context(SVG):
        figure = Figure(figsize=(6.6 * len(curves), 4.8), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
        for axes, (quantile, lines) in zip(panels, curves.items(), strict=True):
            num_seeds, num_trials = lines[OURS].shape
            for name, (colour, style) in LINES.items():
                low, middle, high = np.quantile(lines[name], (0.25, 0.5, 0.75), axis=0)
                numbers = range(1, num_trials + 1)
                axes.fill_between(numbers, low, high, color=colour, alpha=0.08, linewidth=0)
                axes.plot(numbers, middle, color=colour, linestyle=style, linewidth=2)
            above = np.inf
            for name in sorted(LINES, key=lambda name: -np.median(lines[name][:, -1])):
                above = min(float(np.median(lines[name][:, -1])), above - 0.045)  # no overlap
                place = (num_trials + 1, above)
                axes.annotate(name, place, color=LINES[name][0], va="center", annotation_clip=False)
            fits = f"{worlds[quantile].num_fitting} of {len(worlds[quantile].trials)}"
            axes.set_title(f"{fits} configurations fit the budget", loc="left", weight="bold")
            axes.set_xlabel(f"launched trials (median and quartiles of {num_seeds} seeds)")
            axes.set_xlim(1, num_trials)
            axes.set_ylim(0, 1.02)
            axes.grid(axis="y", color="#e4e7eb")
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("hypervolume inside the budget, share of attainable")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
