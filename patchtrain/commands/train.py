"""`patchtrain train`: one trial from a YAML file into a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from patchtrain.checkpoint import has_checkpoint, tidy_checkpoint
from patchtrain.commands.memory_figure import draw_timeline, timeline_info
from patchtrain.commands.progress import TrialProgress, metrics_text
from patchtrain.config import TrialConfig
from patchtrain.datasets import write_split
from patchtrain.errors import ConfigError, DataError, not_given, one_line
from patchtrain.estimation.predict import check_budget
from patchtrain.files import atomic_path, check_writable, remove_leftovers
from patchtrain.interrupt import Stopped
from patchtrain.owned import LOCK, Owned, content_of
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
    """Train the trial of `config_path` into the folder `out`; return the exit status.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
    """
    config = TrialConfig.load(config_path, overrides)
    record = train_into(config, out, resume=resume)
    if record.status is not TrialStatus.COMPLETED:
        print(f"patchtrain: {record.status.value}: {record.error}", file=sys.stderr)
    return _EXIT_STATUS[record.status]


def train_into(config: TrialConfig, out: Path, *, resume: bool, quiet: bool = False) -> TrialRecord:
    """Train the trial and write record.json, epochs.parquet, config.yaml, split.csv, checkpoint/
    and memory.png into `out`.

    Raises:
        ConfigError, DataError: bad input; nothing was written.
        KeyboardInterrupt: what is trained is saved, and `resume` continues from there.
    """
    config = config.with_absolute_paths()
    say = _say_nothing if quiet else print
    check_budget(config)
    _check_out(out, resume)
    is_new = not (resume and content_of(out))
    with ExitStack() as held:
        if not is_new:
            held.enter_context(Owned(out, LOCK, "a trial"))
            _check_unchanged(config, out)
            finished = _finished_record(out)
            if finished is not None:
                say(f"nothing to resume: {out} is {finished.status.value}")
                return finished
        trainer = Trainer(config, trial_id=out.resolve().name)
        held.callback(trainer.close)
        if resume and has_checkpoint(out / "checkpoint"):
            trainer.load(out / "checkpoint")
        return _run(trainer, out, say, held, is_new=is_new)


Say = Callable[[str], None]


def _say_nothing(line: str) -> None:
    """Print nothing."""


def _run(trainer: Trainer, out: Path, say: Say, held: ExitStack, *, is_new: bool) -> TrialRecord:
    """Run the rest of the trial, writing as it goes; return its record."""
    if trainer.data.is_sample:
        say("no data_dir given: training on GENERATED SAMPLE DATA, not on real images")
    for line in trainer.data.left_out():
        say(line)
    error: BaseException | None = None
    try:
        say(_prediction(trainer))
        trainer.check_fits()
        _ = trainer.engine  # built before anything is written: it may refuse a setting
    except torch.OutOfMemoryError as caught:
        error = caught
    if is_new:  # what is wrong so far has left no folder behind
        held.enter_context(Owned(out, LOCK, "a trial"))
        _check_out(out, resume=False)  # another start may have been faster
    _start_out(trainer, out)
    rows = [row for row in _epoch_rows(out) if row["epoch"] <= trainer.epochs_done]
    if error is None:
        try:
            _run_epochs(trainer, out, rows, quiet=say is _say_nothing)
        except KeyboardInterrupt as stopped:
            say(f"{_saved(trainer, out, stopped)}; continue with --resume")
            raise
        except Exception as caught:  # whatever ends a trial is recorded as its result
            error = caught
    tidy_checkpoint(out / "checkpoint")
    record = trainer.record(error)
    write_json(out / "record.json", record)
    _draw_memory(trainer, out)
    if record.status is TrialStatus.COMPLETED:
        peak = f"peak {format_bytes(record.peak_allocated_bytes)} ({record.peak_phase})"
        say(f"completed  {metrics_text(record.metrics)}  {peak}  -> {out}")
    return record


def _prediction(trainer: Trainer) -> str:
    predicted, budget_bytes = trainer.estimate, trainer.config.budget
    line = f"predicted peak {format_bytes(predicted.predicted_peak_bytes)} in {predicted.phase}"
    if trainer.config.patch_microbatch == "auto":
        line += f", patch_microbatch {predicted.config.patch_microbatch}"
    if budget_bytes is not None and not predicted.fits(budget_bytes):
        line += f", over the budget of {format_bytes(budget_bytes)}; see `patchtrain estimate`"
    return line


def _run_epochs(trainer: Trainer, out: Path, rows: list[dict[str, Any]], *, quiet: bool) -> None:
    config = trainer.config
    with TrialProgress(config.epochs, config.budget, quiet=quiet) as progress:
        while not trainer.finished:
            progress.start_epoch(trainer.epochs_done + 1)
            epoch = trainer.run_epoch(progress.on_batch)
            rows.append(epoch.to_row())
            write_rows(out / "epochs.parquet", EpochRecord, rows)
            trainer.save(out / "checkpoint")
            _draw_memory(trainer, out)
            progress.on_epoch(epoch)


def _saved(trainer: Trainer, out: Path, stopped: KeyboardInterrupt) -> str:
    """Save a trial that was stopped, if that was between two batches; return, as text, how far it
    is.
    """
    done = f"interrupted after epoch {trainer.epochs_done}"
    if not isinstance(stopped, Stopped) or not trainer.batches_done:
        return done
    try:
        trainer.save(out / "checkpoint")
        if trainer.batches_done > 1:  # else the run that goes on draws the second
            _draw_memory(trainer, out)
    except Exception as error:  # the libraries that write have errors of their own
        return f"{done}; the epoch after it is lost ({one_line(error)})"
    return f"{done} and {trainer.batches_done} batches of the next"


def _draw_memory(trainer: Trainer, out: Path) -> None:
    """Draw the timeline, once: it shows the first epoch, which a resumed run does not repeat."""
    path = out / "memory.png"
    if trainer.timeline and not path.exists():
        config = trainer.config
        title = f"{config.method} {config.backbone}, image {config.image_size} px"
        with atomic_path(path) as temporary:
            draw_timeline(timeline_info(trainer.timeline, config.budget), title, temporary)


def _check_out(out: Path, resume: bool) -> None:
    """Refuse a folder that cannot be written or holds other things; does not create it.

    Raises:
        ConfigError: names the folder and the remedy.
    """
    check_writable(out)
    if content_of(out) and not resume:
        raise ConfigError(
            f"--out {out} is not empty; give another folder, or continue the trial in it "
            "(--resume, in Python resume=True)"
        )


def _finished_record(out: Path) -> TrialRecord | None:
    """Return the record of a trial that has ended; None for one that failed: it may be tried
    again.
    """
    if not (out / "record.json").exists():
        return None
    path = out / "record.json"
    try:
        record = read_json(path)
    except (ValueError, KeyError, TypeError, OSError) as error:
        damage = f"is damaged ({error}); remove it to continue from the checkpoint"
        raise DataError(f"{path}: {not_given(error) or damage}") from None
    return None if record.status is TrialStatus.FAILED else record


def _epoch_rows(out: Path) -> list[dict[str, Any]]:
    try:
        return read_rows(out / "epochs.parquet")
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        damage = f"is damaged ({reason}); remove it to continue without it"
        raise DataError(f"{out / 'epochs.parquet'}: {not_given(error) or damage}") from None


def _check_unchanged(config: TrialConfig, out: Path) -> None:
    """Refuse to resume in a folder that holds something else or another configuration."""
    if not (out / "config.yaml").is_file():
        raise ConfigError(f"--resume: {out} holds no trial (no config.yaml); give another --out")
    config.check_resumes(TrialConfig.load(out / "config.yaml", dumped=True), out)


def _start_out(trainer: Trainer, out: Path) -> None:
    remove_leftovers(out, "*")
    tidy_checkpoint(out / "checkpoint")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(out / "config.yaml") as temporary:
            trainer.config.dump(temporary)
        write_split(out / "split.csv", trainer.data)
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written ({error.strerror}); give another folder"
        ) from None
