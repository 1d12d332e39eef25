"""`patchtrain train`: one trial from a YAML file into a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from patchtrain.checkpoint import has_checkpoint
from patchtrain.commands.progress import TrialProgress
from patchtrain.config import TrialConfig
from patchtrain.datasets import write_split
from patchtrain.errors import ConfigError
from patchtrain.memory.figure import draw_timeline, timeline_info
from patchtrain.output import check_writable
from patchtrain.record import (
    EpochRecord,
    TrialRecord,
    TrialStatus,
    read_json,
    read_rows,
    write_json,
    write_rows,
)
from patchtrain.trainer import Trainer
from patchtrain.units import format_bytes

_EXIT_STATUS = {TrialStatus.COMPLETED: 0, TrialStatus.FAILED: 1, TrialStatus.OUT_OF_MEMORY: 3}


def train(config_path: Path, overrides: Sequence[str], out: Path, *, resume: bool) -> int:
    """Train the trial and write record.json, epochs.parquet, config.yaml, split.csv, checkpoint/
    and memory.png into `out`. Returns the exit status.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    config = TrialConfig.load(config_path, overrides)
    if config.data_dir is not None:
        config = replace(config, data_dir=str(Path(config.data_dir).resolve()))
    _check_out(out, resume)
    if resume and (finished := _finished_record(out)) is not None:
        _check_unchanged(config, out)
        print(f"nothing to resume: {out} is {finished.status.value}")
        return _EXIT_STATUS[finished.status]
    trainer = Trainer(config, trial_id=out.resolve().name)
    if resume and has_checkpoint(out / "checkpoint"):
        trainer.load(out / "checkpoint")
    status = _run(trainer, out)
    trainer.close()
    return status


def _run(trainer: Trainer, out: Path) -> int:
    """Run what is left of the trial, writing as it goes; return the exit status."""
    if trainer.data.is_sample:
        print("no data_dir given: training on GENERATED SAMPLE DATA, not on real images")
    if trainer.data.num_skipped:
        print(f"skipped {trainer.data.num_skipped} images that cannot be read")
    error: BaseException | None = None
    try:
        _ = trainer.engine  # built before anything is written: it may refuse a setting
    except torch.OutOfMemoryError as caught:
        error = caught
    _start_out(trainer, out)
    rows = [row for row in read_rows(out / "epochs.parquet") if row["epoch"] <= trainer.epochs_done]
    if error is None:
        try:
            _run_epochs(trainer, out, rows)
        except KeyboardInterrupt:
            print(f"interrupted after epoch {trainer.epochs_done}; go on with --resume")
            raise
        except Exception as caught:  # whatever ends a trial is recorded as its result
            error = caught
    record = trainer.record(error)
    write_json(out / "record.json", record)
    if trainer.timeline:
        info = timeline_info(trainer.timeline, trainer.config.budget)
        title = f"{record.method} {record.backbone}, image {record.image_size} px"
        draw_timeline(info, title, out / "memory.png")
    _report(record, out)
    return _EXIT_STATUS[record.status]


def _run_epochs(trainer: Trainer, out: Path, rows: list[dict[str, Any]]) -> None:
    config = trainer.config
    with TrialProgress(config.epochs, config.budget) as progress:
        while not trainer.finished:
            progress.start_epoch(trainer.epochs_done + 1)
            epoch = trainer.run_epoch(progress.on_batch)
            rows.append(epoch.to_row())
            write_rows(out / "epochs.parquet", EpochRecord, rows)
            trainer.save(out / "checkpoint")
            progress.on_epoch(epoch)


def _check_out(out: Path, resume: bool) -> None:
    """Refuse a folder that cannot be written or holds other things, without making it.

    Raises:
        ConfigError: names the folder and the remedy.
    """
    check_writable(out)
    if out.is_dir() and any(out.iterdir()) and not resume:
        raise ConfigError(f"--out {out} is not empty; give another folder, or --resume to go on")


def _finished_record(out: Path) -> TrialRecord | None:
    """Return the record of a trial that came to its own end; a failed one may be tried again."""
    if not (out / "record.json").exists():
        return None
    record = read_json(out / "record.json")
    return None if record.status is TrialStatus.FAILED else record


def _check_unchanged(config: TrialConfig, out: Path) -> None:
    if (out / "config.yaml").exists() and TrialConfig.load(out / "config.yaml") != config:
        raise ConfigError(
            f"--resume: {out} holds a finished trial of another configuration; give another --out"
        )


def _start_out(trainer: Trainer, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        trainer.config.dump(out / "config.yaml")
        write_split(out / "split.csv", trainer.data)
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written ({error.strerror}); give another"
        ) from None


def _report(record: TrialRecord, out: Path) -> None:
    peak = f"peak {format_bytes(record.peak_allocated_bytes)} ({record.peak_phase})"
    if record.status is TrialStatus.COMPLETED:
        metrics = "  ".join(
            f"{name} {'undefined' if value is None else f'{value:.4f}'}"
            for name, value in record.metrics.items()
        )
        print(f"completed  {metrics}  {peak}  -> {out}")
    else:
        print(f"patchtrain: {record.status.value}: {record.error}", file=sys.stderr)
