"""Trials measured on test images, for tables of methods: those that are missing are trained.

A run that was stopped goes on after the last whole epoch: its checkpoint lies beside the results,
and so does what each epoch measured (`NAME_epochs.parquet`).
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchtrain.checkpoint import has_checkpoint
from patchtrain.config import TrialConfig
from patchtrain.datasets import ImageData, load_dataset
from patchtrain.record import EpochRecord, TrialRecord, read_rows, write_rows
from patchtrain.trainer import Trainer

Rows = list[dict[str, Any]]


def parser_of(
    description: str, *, batch_size: int, learning_rate: float, epochs: int | None
) -> argparse.ArgumentParser:
    """Return a parser of what such tables have in common, with these defaults."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    return parser


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a trial that `parser_of` asks for, but the seed."""
    names = ("epochs", "batch_size", "learning_rate", "precision", "device")
    return {name: getattr(arguments, name) for name in names}


def measured(
    path: Path,
    trials: Iterable[tuple[str, TrialConfig]],
    num_watched: int,
    on_row: Callable[[Rows], None],
) -> Rows:
    """Return the rows in the Parquet file `path`, those of `trials` (id, configuration) trained
    where they are missing and written as they end; `on_row` is called with all rows each time.

    Args:
        num_watched: test images that are measured after every epoch, to see how far a trial is.
            Nothing is chosen by them: the last epoch counts.
    """
    rows = read_rows(path)
    done = {row["trial_id"] for row in rows}
    for trial_id, config in trials:
        if trial_id not in done:
            checkpoint = path.with_name(f"{path.stem}-{trial_id}.checkpoint")
            data = trained_and_tested(config, num_watched)
            rows.append(_train(trial_id, config, data, checkpoint, epochs_beside(path)))
            write_rows(path, TrialRecord, rows)
            on_row(rows)
            shutil.rmtree(checkpoint)
    return rows


def trained_and_tested(config: TrialConfig, num_watched: int) -> ImageData:
    """Return the images that are not for testing to train on, and the test images to watch and
    test; of a data set without test images those of val.
    """
    data = load_dataset(config)
    if not data.test:
        return replace(data, val=data.val[:num_watched], test=data.val)
    train = tuple(sorted((*data.train, *data.val), key=lambda example: example.image_id))
    return replace(data, train=train, val=data.test[:num_watched])


def epochs_beside(path: Path) -> Path:
    """Return where the epochs of the trials in the Parquet file `path` are kept."""
    return path.with_name(f"{path.stem}_epochs.parquet")


def _keep(epoch: EpochRecord, path: Path) -> None:
    """Write `epoch` into the Parquet file `path`, in place of an earlier try."""
    row = epoch.to_row()
    key = (row["trial_id"], row["epoch"])
    others = [other for other in read_rows(path) if (other["trial_id"], other["epoch"]) != key]
    write_rows(path, EpochRecord, [*others, row])


def _train(
    trial_id: str, config: TrialConfig, data: ImageData, checkpoint: Path, epochs: Path
) -> dict[str, Any]:
    started = time.perf_counter()
    trainer = Trainer(config, trial_id=trial_id, data=data)
    if has_checkpoint(checkpoint):
        trainer.load(checkpoint)
    _ = trainer.estimate  # recorded beside what is measured
    while not trainer.finished:
        epoch = trainer.run_epoch()
        trainer.save(checkpoint)
        _keep(epoch, epochs)
        print(
            f"{trial_id}  epoch {epoch.epoch}/{config.epochs}  loss {epoch.train_loss:.4f}  "
            f"{epoch.metric_name} of the watched {epoch.metric or 0:.4f}  "
            f"{epoch.train_time_s:.1f} s",
            flush=True,
        )
    metrics = trainer.predict(data.test)
    record = trainer.record()
    name = record.metric_name
    record = replace(record, metrics=metrics, metric=metrics[name], num_val_images=len(data.test))
    trainer.close()
    seconds = time.perf_counter() - started
    print(f"{trial_id}  {name} {record.metric or 0:.4f}  in {seconds:.0f} s", flush=True)
    return record.to_row()


def versions_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return where and with what the trials ran, as a line below a table."""
    return f"Device {rows[0]['device']}; {rows[0]['versions']}"
