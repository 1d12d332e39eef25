"""Train every configuration of a small space once, without a budget, and keep the trials' rows.

    python benchmarks/record_trials.py

`search_waste.py` looks trials up in what this writes: a trial is determined by its configuration
and seed, so a looked-up trial is the one that a search would have trained. Goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from patchtrain.config import TrialConfig
from patchtrain.record import TrialRecord, read_rows, write_rows
from sweeps.search.patch_space import patch_space
from sweeps.search.space import Space

TABLE = Path(__file__).parent / "results" / "search_trials.parquet"


def space() -> Space:
    """Return the space that is recorded: 240 configurations of PANDA's generated slides."""
    base = TrialConfig(
        image_size=256,
        patch_size=64,
        backbone="test_resnet",
        aggregator="small_cnn",
        global_pass="joint",
        sample_num_images=132,
        val_fraction=3 / 11,
        batch_size=8,
        epochs=5,
        device="cpu",
    )
    varied = {"patch_size": (64, 128), "learning_rate": (1e-3, 2e-3, 4e-3, 8e-3)}
    return patch_space(base, varied=varied, max_inner_iterations=3)


def main(argv: Sequence[str] | None = None) -> None:
    """Record what is not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at once")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args(argv)
    recorded = space()
    points = list(recorded.points())
    random.Random(0).shuffle(points)  # what is there when it is stopped is spread over the space
    rows = read_rows(arguments.out)
    known = {recorded.identity(recorded.params(TrialRecord.from_row(row))) for row in rows}
    left = [point for point in points if recorded.identity(point) not in known]
    print(f"{len(points)} configurations, {len(left)} to train", flush=True)
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        running = [
            pool.submit(train, recorded.config(point), f"{len(rows) + number:05d}")
            for number, point in enumerate(left)
        ]
        for finished in as_completed(running):
            rows.append(finished.result())
            write_rows(arguments.out, TrialRecord, sorted(rows, key=lambda row: row["trial_id"]))
            print(f"{len(rows)}/{len(points)}", flush=True)


def train(config: TrialConfig, trial_id: str) -> dict[str, Any]:
    """Train one trial in this process, on one thread; return its row."""
    import torch

    from patchtrain.trainer import Trainer

    torch.set_num_threads(1)
    trainer = Trainer(config, trial_id=trial_id, sweep="search_waste")
    error: Exception | None = None
    try:
        while not trainer.finished:
            trainer.run_epoch()
    except torch.OutOfMemoryError as caught:
        error = caught
    record = trainer.record(error)
    trainer.close()
    return dataclasses.replace(record, group=trial_id).to_row()


if __name__ == "__main__":
    main()
