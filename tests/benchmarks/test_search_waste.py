"""The comparison of searches on a made-up table: what is counted, and what a contestant is told."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from patchtrain.config import TrialConfig
from patchtrain.record import TrialStatus
from sweeps.results.records import unstarted_record
from sweeps.search.patch_space import patch_space
from sweeps.search.prediction import Predictor

SPACE = patch_space(TrialConfig(image_size=256, patch_size=64), max_inner_iterations=2)


@pytest.fixture(scope="module")
def benchmark():
    """The script, which finds `record_trials` beside itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("search_waste")


@pytest.fixture
def world(benchmark):
    """More sampled pixels take more memory and give a better metric."""
    trials, predictions = {}, {}
    for number, point in enumerate(SPACE.points()):
        config = SPACE.config(point)
        peak = 10_000_000 + config.num_sampled * config.patch_size**2 * 600
        record = unstarted_record(config, f"{number:05d}", None, ValueError())
        trials[SPACE.identity(point)] = benchmark.replace(
            record,
            status=TrialStatus.COMPLETED,
            error=None,
            metric=0.1 + 0.1 * config.num_sampled * config.patch_size**2 / 256**2,
            peak_allocated_bytes=peak,
        )
        predictions[SPACE.identity(point)] = benchmark.Said(peak, peak, peak)
    return benchmark.World(SPACE, trials, predictions).with_budget(0.5)


def rows_of(benchmark, world, name, num_trials=20):
    searcher = benchmark.contestant(name, world, num_trials, 0)
    return list(benchmark.follow(searcher, world.look_up, world, num_trials))


def test_the_budget_is_the_quantile_of_what_is_predicted(world):
    assert world.num_fitting / len(world.trials) == pytest.approx(0.5, abs=0.1)


def test_a_trial_over_the_budget_has_run_out_of_memory(world):
    ends = [world.look_up("00000", world.space.params(r)) for r in world.trials.values()]
    assert sum(r.status is TrialStatus.COMPLETED for r in ends) == world.num_fitting
    assert all((r.metric is None) == (r.status is TrialStatus.OUT_OF_MEMORY) for r in ends)


def test_all_that_fit_have_the_whole_hypervolume(world):
    fits = [r for r in world.trials.values() if r.peak_allocated_bytes <= world.budget_bytes]
    assert world.share(list(world.trials.values())) == 1
    assert world.share(fits) == 1
    middle = sorted(fits, key=lambda r: r.peak_allocated_bytes)[len(fits) // 2]
    assert 0 < world.share([middle]) < 1
    assert world.rectangle() == pytest.approx(0.5, abs=0.1)  # under a line from corner to corner


def test_every_contestant_launches_as_many_trials(benchmark, world):
    for name in benchmark.LINES:
        rows = rows_of(benchmark, world, name)
        assert [row["number"] for row in rows] == list(range(1, 21)), name
        volumes = [row["hypervolume"] for row in rows]
        assert volumes == sorted(volumes), name


def test_ours_launches_nothing_over_the_budget_and_counts_what_it_refused(benchmark, world):
    rows = rows_of(benchmark, world, benchmark.OURS)
    assert not any(row["over"] or row["repeated"] for row in rows)
    assert rows[-1]["refused"] > 0
    assert sum(row["over"] for row in rows_of(benchmark, world, benchmark.RANDOM)) > 0


def test_ours_ends_when_nothing_is_left_that_fits(benchmark, world):
    rows = rows_of(benchmark, world, benchmark.OURS, num_trials=len(world.trials))
    assert len(rows) == world.num_fitting
    assert rows[-1]["hypervolume"] == 1


@pytest.mark.parametrize(("name", "state"), [("STOCK", "FAIL"), ("TOLD", "COMPLETE")])
def test_stock_is_told_of_memory_as_tune_would(benchmark, world, name, state):
    searcher = benchmark.contestant(getattr(benchmark, name), world, 20, 0)
    list(benchmark.follow(searcher, world.look_up, world, 20))
    trials = searcher._search._ot_study.trials
    over = [t for t in trials if (t.values or [0])[0] == 0]
    assert over and {t.state for t in over} == {TrialState[state]}
    assert any(t.state is TrialState.COMPLETE and t not in over for t in trials)


def test_a_search_that_ended_early_keeps_its_hypervolume(benchmark):
    rows = [
        {"quantile": 0.5, "contestant": name, "seed": 0, "number": number, "hypervolume": number}
        for name in benchmark.LINES
        for number in range(1, 3 if name == benchmark.OURS else 5)
    ]
    curves = benchmark._curves(pd.DataFrame(rows), 0.5, 4)
    assert curves[benchmark.OURS].tolist() == [[1, 2, 2, 2]]
    assert curves[benchmark.RANDOM].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("ours", "stock", "verdict"), [(0.5, 0.4, "kept"), (0.41, 0.4, "not kept"), (0.2, 0.1, "kept")]
)
def test_the_goal_is_a_gain_over_random(benchmark, ours, stock, verdict):
    random = 0.2 if ours > stock > 0.2 else 0.1
    curves = {
        name: np.array([[0.0, 0.0, 0.0, end]] * 3)
        for name, end in ((benchmark.OURS, ours), (benchmark.STOCK, stock), ("", 0))
    }
    curves[benchmark.RANDOM] = np.array([[0.0, 0.0, 0.0, random]] * 3)
    assert benchmark._goal(curves, benchmark.STOCK, 4)[-1] == verdict


def test_half_the_trials_keep_the_goal_too(benchmark):
    curves = {
        benchmark.OURS: np.array([[0.0, 0.4, 0.4, 0.4]] * 3),
        benchmark.STOCK: np.array([[0.0, 0.1, 0.2, 0.4]] * 3),
        benchmark.RANDOM: np.zeros((3, 4)),
    }
    assert benchmark._goal(curves, benchmark.STOCK, 4)[-2:] == ["2 (0.50)", "kept"]


def test_a_record_of_other_settings_is_noticed(benchmark, world):
    record = next(iter(world.trials.values()))
    config = SPACE.config(SPACE.params(record))
    assert benchmark.mismatch(record, config) == []
    assert benchmark.mismatch(record, benchmark.replace(config, epochs=9, budget=10**9)) == [
        "epochs",
        "budget",
    ]


def test_a_table_of_another_space_is_refused(benchmark, world, tmp_path):
    table = tmp_path / "trials.parquet"
    rows = [record.to_row() for record in world.trials.values()]
    benchmark.write_rows(table, benchmark.TrialRecord, rows)
    with pytest.raises(SystemExit, match="run benchmarks/record_trials"):
        benchmark.load(table)


def test_predictions_are_the_real_predictors(benchmark, world, tmp_path, monkeypatch):
    base = TrialConfig(
        image_size=64,
        patch_size=32,
        backbone="test_resnet",
        aggregator="small_cnn",
        global_pass="joint",
        batch_size=2,
        device="cpu",
    )
    small = patch_space(base, max_inner_iterations=1)
    table = tmp_path / "trials.parquet"
    rows = [
        benchmark.replace(
            unstarted_record(small.config(point), f"{number:05d}", None, ValueError()),
            num_train_images=4,
            num_val_images=2,
        ).to_row()
        for number, point in enumerate(small.points())
    ]
    benchmark.write_rows(table, benchmark.TrialRecord, rows)
    monkeypatch.setattr(benchmark, "space", lambda: small)
    loaded = benchmark.load(table)
    point = next(small.points())
    expected = Predictor(4, 2, "cpu")(small.config(point))
    said = loaded.predict(small.config(point))
    assert said.predicted_peak_bytes == expected.predicted_peak_bytes
    assert said.fits(expected.needed_bytes) and not said.fits(expected.needed_bytes - 1)
