"""A sweep without Ray and training: the real run folder, search and recorder, made-up trials.

`SimulatedSweep` is what outlives a process: the folder, and what is known to be in it. `Start` is
one process of the driver. What an epoch of a trial brings follows from its configuration.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from failing_files import FailingFiles, failing_files
from integration.sweep_process import check_studies
from ray.exceptions import ActorDiedError

from patchtrain.errors import DataError
from patchtrain.faults import ENVIRONMENT
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus, read_json, read_rows
from sweeps.errors import Unfinished
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.plan import Plan, make_plan
from sweeps.results.inputs import Inputs
from sweeps.results.keys import EPOCH, RECORD
from sweeps.results.patience import PATIENCE_VARIABLE, patiently
from sweeps.results.recorder import Recorder
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder
from sweeps.search.searcher import StatelessSearcher
from sweeps.stages import make_replicates, make_search
from sweeps.testing import Predicted, needed_bytes

NUM_EPOCHS = 3
BUDGETS = (24_000_000, 60_000_000)
"""In bytes; the made-up law refuses a part of the space under the smaller one."""

INPUTS = Inputs("data", {"image": ("train", "content")}, None)
_WHEN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def predict(config: Any) -> Predicted:
    """Return what the made-up law says."""
    return Predicted(needed_bytes(config))


@cache
def _plan() -> Plan:
    arguments = ["--smoke-test", "--sampler", "random", "--epochs", str(NUM_EPOCHS)]
    options = parser(SWEEP).parse_args(["--out", "unused", *arguments])
    return make_plan(SWEEP, options)


@cache
def _description() -> dict[str, Any]:
    return _plan().description()  # looks up versions, which takes time


@contextmanager
def simulated(sweep: SimulatedSweep, **how: Any) -> Iterator[FailingFiles]:
    """Context: what the driver of `sweep` writes is counted, and stops as `FailingFiles` says; who
    waits for the disk waits half a minute, in no time.
    """
    now = [0.0]

    def sleep(pause_s: float) -> None:
        now[0] += pause_s

    waits = partial(patiently, clock=lambda: now[0], sleep=sleep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PATIENCE_VARIABLE, "30")
        for module in ("store", "journal"):
            patch.setattr(f"sweeps.results.{module}.patiently", waits)
        with failing_files(sweep.run_dir, **how) as sweep.files:
            yield sweep.files
        sweep.files = None


class SimulatedSweep:
    """A RUN_DIR, and what must be in it.

    Attributes:
        written: rows of trials whose end was announced, by trial id.
        noted: last epoch of whose checkpoint the folder has taken note, by trial id.
        mended: trials whose data was away, and is back.
        num_repeated: how often a trial began again whose row was written.
        files: counts what the driver writes, if anything does.
    """

    def __init__(self, run_dir: Path, num_trials: int = 6, num_seeds: int = 1) -> None:
        self.run_dir = run_dir
        self.num_trials = num_trials
        self.num_seeds = num_seeds
        self.budgets_bytes = BUDGETS
        self.written: dict[str, TrialRecord] = {}
        self.noted: dict[str, int] = {}
        self.mended: set[str] = set()
        self.num_repeated = 0
        self.files: FailingFiles | None = None

    @property
    def plan(self) -> Plan:
        """The plan of the next start."""
        return dataclasses.replace(
            _plan(),
            out=self.run_dir,
            num_trials=self.num_trials,
            num_seeds=self.num_seeds,
            budgets_bytes=self.budgets_bytes,
        )

    def description(self) -> dict[str, Any]:
        """Return the content of `sweep.json` as the next start has it."""
        asked = {
            "num_trials": self.num_trials,
            "num_seeds": self.num_seeds,
            "budgets_bytes": list(self.budgets_bytes),
        }
        return _description() | asked

    def elsewhere(self) -> Any:
        """Context: what another process writes does not count as the driver's."""
        return self.files.paused() if self.files is not None else nullcontext()

    def check(self) -> None:
        """Check that every file can be read and nothing that was told to be written is missing."""
        for path in self.run_dir.rglob("*"):
            if path.suffix == ".parquet":
                read_rows(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
        own = {path.parent.name: path for path in self.run_dir.glob("trials/*/record.json")}
        for trial_id, record in self.written.items():
            assert read_json(own[trial_id]).to_row() == record.to_row(), trial_id

    def check_end(self) -> None:
        """Check what a sweep leaves that came to its end."""
        self.check()
        rows = read_rows(self.run_dir / "trials.parquet")
        ids = [row["trial_id"] for row in rows]
        assert ids == sorted(self.written)
        for row in rows:
            assert row["status"] == self.written[row["trial_id"]].status.value
        first = [row for row in rows if row["group"] in (None, row["trial_id"])]
        launched = [row for row in first if row["status"] != "predicted_infeasible"]
        assert len(launched) == self.num_trials
        space = _plan().space
        tried = [
            (row["budget_bytes"], space.identity(space.params(TrialRecord.from_row(row))))
            for row in first
        ]
        assert len(set(tried)) == len(tried), "a configuration was tried twice"
        check_studies(self.run_dir, {row["trial_id"] for row in first})
        epochs = [(row["trial_id"], row["epoch"]) for row in read_rows(self._epochs_path)]
        assert sorted(set(epochs)) == epochs
        done = {(row["trial_id"], epoch) for row in rows for epoch in _epochs_of(row)}
        assert set(epochs) == done
        left = [path for path in self.run_dir.rglob("*") if path.name.endswith(".tmp")]
        assert not left, "temporary files are left"
        assert not list(self.run_dir.glob("tune/*/*/checkpoint_*")), "checkpoints are left"
        assert self.num_repeated == 0

    @property
    def _epochs_path(self) -> Path:
        return self.run_dir / "epochs.parquet"


def _epochs_of(row: Mapping[str, Any]) -> range:
    return range(1, row["epochs_done"] + 1)


class Trial(SimpleNamespace):
    """The parts of Tune's trial that are read."""

    def get_pickled_error(self) -> BaseException | None:
        """Return what ended it."""
        return self.error


class Start:
    """One process that drives the sweep, from the checks of its start on.

    Args:
        sweep: goes on with what is there.
        retry_failed: whether every failed trial runs again.
    """

    def __init__(self, sweep: SimulatedSweep, *, retry_failed: bool = False) -> None:
        self._sweep = sweep
        self._plan = dataclasses.replace(sweep.plan, retry_failed=retry_failed)
        self.running: dict[str, Trial] = {}
        self.folder = RunFolder(sweep.run_dir, itertools.count().__next__)
        description = sweep.description()
        self.folder.check(self.folder.is_begun, description)
        self.folder.open(description, INPUTS)
        try:
            self._go_on()
        except BaseException:
            self.close()
            raise

    def _go_on(self) -> None:
        again = self.folder.to_run_again(retry_failed=self._plan.retry_failed)
        self._again = {record.trial_id for record in again}
        for record in self.folder.records():  # written, but the process died before it said so
            self._sweep.written.setdefault(record.trial_id, record)
        self.search: StatelessSearcher = make_search(
            self._plan, self.folder, "cpu", predict, self._announce
        )
        self._run_tune()

    def _run_tune(self) -> None:
        self._recorder = Recorder(self.folder, self.search, self._announce)
        self._tune_path = self.folder.tune_path / self.folder.next_start()
        with self._sweep.elsewhere():
            self._tune_path.mkdir()

    def replicate(self) -> None:
        """Go on with the replicates of the Pareto front, once all trials have ended."""
        self.search = make_replicates(self._plan, self.folder)
        self._run_tune()

    def ask(self) -> Trial | None:
        """Begin the next trial; None if there is none."""
        asked = self.search.suggest("an id of Tune's")
        if asked == self.search.FINISHED:
            return None
        trial_id = asked["trial_id"]
        if trial_id in self._sweep.written and trial_id not in self._again:
            self._sweep.num_repeated += 1
        epochs_done = 0
        if asked["checkpoint"] is not None:
            epochs_done = int(Path(asked["checkpoint"], "epoch").read_text())
        if trial_id not in self._again:
            assert epochs_done >= self._sweep.noted.get(trial_id, 0), "an epoch is lost"
        self._sweep.written.pop(trial_id, None)
        trial = Trial(
            config=asked,
            trial_id=trial_id,
            epochs_done=epochs_done,
            error=None,
            error_file=None,
            last_result={},
            max_failures=1,
            num_failures=0,
            num_checkpoints=0,
        )
        self.running[trial_id] = trial
        self._recorder.on_trial_start(0, [], trial)
        return trial

    def run_epoch(self, trial: Trial) -> None:
        """Report one more epoch; the last one ends the trial, and another is saved."""
        trial.epochs_done += 1
        is_last = trial.epochs_done == NUM_EPOCHS
        status = TrialStatus.COMPLETED if is_last else TrialStatus.STOPPED_EARLY
        self._report(trial, self._record(trial, status), self._epoch(trial))
        if not is_last:
            self._save(trial)

    def run_out_of_memory(self, trial: Trial) -> None:
        """Report the end of a trial that did not fit."""
        self._report(trial, self._record(trial, TrialStatus.OUT_OF_MEMORY), None)

    def lose_data(self, trial: Trial) -> None:
        """Report the end of a trial whose images cannot be read for a while."""
        failed = unstarted_record(
            trial.config["config"],
            trial.trial_id,
            trial.config["sweep"],
            DataError(f"{trial.trial_id}.png: may not be read"),
            group=trial.config["group"],
        )
        failed = dataclasses.replace(failed, failed_by=ENVIRONMENT, epochs_done=trial.epochs_done)
        self._report(trial, failed, None)

    def stop_early(self, trial: Trial) -> None:
        """End a trial whose scheduler thinks little of it; it must have reported an epoch."""
        self.running.pop(trial.trial_id)
        self._recorder.on_trial_complete(0, [], trial)

    def lose_worker(self, trial: Trial) -> None:
        """Kill the worker of a trial: it goes on from its checkpoint, or it ends."""
        trial.num_failures += 1
        if trial.num_failures <= trial.max_failures:
            trial.epochs_done = self._sweep.noted.get(trial.trial_id, 0)
            return
        trial.error = ActorDiedError()
        self.running.pop(trial.trial_id)
        self._recorder.on_trial_error(0, [], trial)

    def close(self) -> None:
        """End the process as one ends that can."""
        self.folder.close()

    def _announce(self, record: TrialRecord) -> None:
        self._sweep.written[record.trial_id] = record

    def _report(self, trial: Trial, record: TrialRecord, epoch: dict[str, Any] | None) -> None:
        trial.last_result = {RECORD: record.to_row(), EPOCH: epoch}
        if record.status is not TrialStatus.STOPPED_EARLY:
            self.running.pop(trial.trial_id)
        self._recorder.on_trial_result(0, [], trial, trial.last_result)

    def _save(self, trial: Trial) -> None:
        """Write a checkpoint, as a worker does, and tell the driver."""
        path = self._tune_path / trial.trial_id / f"checkpoint_{trial.num_checkpoints:06d}"
        trial.num_checkpoints += 1
        with self._sweep.elsewhere():
            path.mkdir(parents=True)
            (path / "epoch").write_text(str(trial.epochs_done))
        self._recorder.on_checkpoint(0, [], trial, SimpleNamespace(path=str(path)))
        self._sweep.noted[trial.trial_id] = trial.epochs_done

    def _record(self, trial: Trial, status: TrialStatus) -> TrialRecord:
        config = trial.config["config"]
        made = unstarted_record(
            config, trial.trial_id, trial.config["sweep"], RuntimeError(), _WHEN
        )
        return dataclasses.replace(
            made,
            status=status,
            error=None,
            failed_by=None,
            group=trial.config["group"],
            metric=config.num_sampled / config.num_patches,
            peak_allocated_bytes=needed_bytes(config),
            epochs_done=trial.epochs_done,
            finished_at=_WHEN,
        )

    def _epoch(self, trial: Trial) -> dict[str, Any]:
        return EpochRecord(
            trial_id=trial.trial_id,
            epoch=trial.epochs_done,
            train_loss=1.0 / trial.epochs_done,
            learning_rate=1e-3,
            metric_name="accuracy",
            metric=0.5,
            train_time_s=1.0,
            validation_time_s=1.0,
            images_per_s=1.0,
        ).to_row()


def run_on(sweep: SimulatedSweep) -> None:
    """Go on with a sweep until it is at its end, with trials that meet all kinds of ends.

    The trials' numbers decide: every kind of end is met, some at their first try only.
    """
    for _ in range(2 * sweep.num_trials):
        start = Start(sweep)
        try:
            _run_all(sweep, start)
            if sweep.num_seeds > 1 and not start.folder.to_run_again():
                start.replicate()
                _run_all(sweep, start)
        except Unfinished:
            pass
        finally:
            start.close()
        if not start.folder.to_run_again():
            return
    raise AssertionError("the sweep does not come to its end")


def _run_all(sweep: SimulatedSweep, start: Start) -> None:
    """Run trials in pairs, as two workers do."""
    while True:
        while len(start.running) < 2 and start.ask() is not None:
            pass
        if not start.running:
            return
        for trial in list(start.running.values()):
            _go_on(sweep, start, trial)


def _go_on(sweep: SimulatedSweep, start: Start, trial: Trial) -> None:
    number, _, replicate = trial.trial_id.partition("-")
    fate = "" if replicate else _FATES[int(number) % len(_FATES)]
    if fate == "out of memory":
        start.run_out_of_memory(trial)
    elif fate == "stopped" and trial.epochs_done == 1 and trial.last_result:
        start.stop_early(trial)
    elif fate == "loses data" and trial.trial_id not in sweep.mended:
        sweep.mended.add(trial.trial_id)
        start.lose_data(trial)
    elif fate == "loses worker" and trial.epochs_done == 1 and trial.num_failures == 0:
        start.lose_worker(trial)
    else:
        start.run_epoch(trial)


_FATES = ("", "loses worker", "out of memory", "loses data", "stopped")
