"""Sweeps on real Ray whose processes are killed, and the memory of a driver of many trials.

    python benchmarks/chaos.py kills --lives 20
    python benchmarks/chaos.py memory --trials 2000

`kills` starts a sweep with its own cluster of this machine, kills its driver, a worker or the
raylet with SIGKILL at a random moment, resumes until the sweep is at its end, and counts. `memory`
runs trials that train nothing through the same search, Tune and run folder, and looks at how the
driver's memory grows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from ray import tune

from patchtrain.config import TrialConfig
from patchtrain.record import EpochRecord, TrialRecord, TrialStatus, read_rows
from sweeps.course import Course
from sweeps.options import parser
from sweeps.panda_budget import SWEEP
from sweeps.placement import cluster, placement
from sweeps.plan import make_plan
from sweeps.results.journal import open_storage
from sweeps.results.keys import EPOCH, RECORD, OpaqueRow
from sweeps.results.records import unstarted_record
from sweeps.results.store import RunFolder
from sweeps.search.study import COPIED, TRIAL_ID
from sweeps.stages import make_search
from sweeps.testing import Predicted

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NUM_TRIALS, NUM_EPOCHS = 6, 4
TARGETS = ("driver", "worker", "raylet")
_COMMAND = (
    *("--smoke-test", "--set", "sample_num_images=24", "--image-size", "128"),
    *("--num-trials", str(NUM_TRIALS), "--epochs", str(NUM_EPOCHS), "--budgets", "24MB", "60MB"),
)
_MAX_STARTS = 5
_GOAL_BYTES = 10_000
"""Growth of the driver's memory for each trial: 1 MB for 100."""


@dataclasses.dataclass(frozen=True)
class Life:
    """What became of one sweep."""

    target: str
    killed_after_s: float
    """After the first trial began."""
    num_rows_before: int
    num_starts: int
    num_trials: int
    num_lost: int
    """Rows that were written before the kill and are gone or others."""
    num_repeated: int
    """Trials that are in their study twice, or not at all."""
    num_unreadable: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the two and write its table."""
    ours = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ours.add_argument("what", choices=("kills", "memory"))
    ours.add_argument("--lives", type=int, default=20, metavar="N")
    ours.add_argument("--trials", type=int, default=2000, metavar="N")
    ours.add_argument("--seed", type=int, default=0)
    ours.add_argument("--out", type=Path, default=RESULTS, metavar="DIR")
    options = ours.parse_args(argv)
    path = options.out / f"chaos_{options.what}.md"
    if options.what == "kills":
        _kill_all(options.lives, options.seed, path)
    else:
        path.write_text(_memory(options.trials))
    print(path.read_text())


def _kill_all(num_lives: int, seed: int, path: Path) -> None:
    dice = random.Random(seed)
    lives: list[Life] = []
    for number in range(num_lives):
        with tempfile.TemporaryDirectory(prefix="patchtrain-chaos-") as folder:
            target = TARGETS[number % len(TARGETS)]
            lives.append(_live(Path(folder) / "run", target, dice.uniform(0.0, 25.0)))
        print(number, lives[-1], flush=True)
        path.write_text(_report(lives, seed))


def _report(lives: Sequence[Life], seed: int) -> str:
    num_lives = len(lives)
    lines = [
        "# Sweeps whose processes are killed",
        "",
        f"`python benchmarks/chaos.py kills --lives {num_lives} --seed {seed}`: a sweep of "
        f"{NUM_TRIALS} trials of {NUM_EPOCHS} epochs with its own cluster; SIGKILL at a random "
        "moment, then `--resume` until it ends.",
        "",
        "| killed | seconds after the first trial began | rows then | starts | launched at the end "
        "| rows lost | trials not exactly once | unreadable files |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for life in lives:
        values = dataclasses.astuple(dataclasses.replace(life, killed_after_s=0.0))
        cells = [str(value) for value in values]
        cells[1] = f"{life.killed_after_s:.1f}"
        lines.append(f"| {' | '.join(cells)} |")
    sums = [sum(getattr(life, name) for life in lives) for name in _COUNTED]
    exact = sum(life.num_trials == NUM_TRIALS for life in lives)
    lines += [
        "",
        f"{num_lives} kills: {sums[0]} rows lost, {sums[1]} trials not exactly once, {sums[2]} "
        f"unreadable files; {exact} of {num_lives} sweeps launched exactly {NUM_TRIALS} trials.",
        "",
        _versions(),
        "",
    ]
    return "\n".join(lines)


_COUNTED = ("num_lost", "num_repeated", "num_unreadable")


def _live(out: Path, target: str, after_s: float) -> Life:
    """Start a sweep, kill `target` `after_s` after its first trial began, and see it to its end."""
    sweep = _start(out)
    while sweep.poll() is None and not list(out.glob("trials/*/config.yaml")):
        time.sleep(0.02)
    begun_at = time.monotonic()
    while sweep.poll() is None and time.monotonic() - begun_at < after_s:
        time.sleep(0.02)
    killed_after_s = time.monotonic() - begun_at
    _kill(sweep, target)
    rows = _rows(out)
    if target == "driver":
        sweep.wait()
    num_starts = 1
    while sweep.wait() != 0 and num_starts < _MAX_STARTS:
        sweep = _start(out, *(["--resume"] if (out / "sweep.json").exists() else []))
        num_starts += 1
    return Life(target, killed_after_s, len(rows), num_starts, *_counts(out, rows))


def _start(out: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "sweeps" / "panda_budget.py"), *_COMMAND]
    return subprocess.Popen(
        [*command, "--out", str(out), *arguments],
        cwd=out.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _kill(sweep: subprocess.Popen[bytes], target: str) -> None:
    """Kill a process of the sweep; nothing if it is over."""
    if target == "driver":
        sweep.kill()
        return
    raylets = _children(sweep.pid, "raylet")
    workers = [pid for raylet in raylets for pid in _children(raylet, "Trainable")]
    for pid in raylets + workers if target == "raylet" else workers[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _children(parent: int, name: str) -> list[int]:
    """Return the children of a process whose command line holds `name`."""
    listed = subprocess.run(["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()[1:]]
    return [int(pid) for pid, above, args in rows if int(above) == parent and name in args]


def _rows(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of the trials' own files, by trial id."""
    found = {}
    for path in out.glob("trials/*/record.json"):
        found[path.parent.name] = json.loads(path.read_text())
    return found


def _counts(out: Path, before: dict[str, dict[str, Any]]) -> tuple[int, int, int, int]:
    """Return the numbers of launched trials, lost rows, trials not exactly once, and files that
    cannot be read.
    """
    num_unreadable = 0
    ours = [*out.glob("*"), *out.glob("trials/*/*")]  # Tune's state is nobody's to read
    for path in (path for path in ours if path.suffix in (".parquet", ".json")):
        try:
            read_rows(path) if path.suffix == ".parquet" else json.loads(path.read_text())
        except Exception as error:
            print(path, error)
            num_unreadable += 1
    after = _rows(out)
    kept = [row for row in before.values() if row["failed_by"] != "environment"]
    num_lost = sum(after.get(row["trial_id"]) != row for row in kept)
    joint = [TrialRecord.from_row(row) for row in read_rows(out / "trials.parquet")]
    launched = [r for r in joint if r.status is not TrialStatus.PREDICTED_INFEASIBLE]
    own = [(record.trial_id, record.budget_bytes) for record in joint]
    told = _told(out, dict(own))
    num_wrong = len(own) - len(set(own)) + sum(told.count(one) != 1 for one in {*own, *told})
    return len(launched), num_lost, num_wrong, num_unreadable


def _told(out: Path, budgets: dict[str, int | None]) -> list[tuple[str, int]]:
    """Return id and budget of the trials that each budget's study knows as its own.

    Args:
        budgets: budget of each trial, by its id.
    """
    storage = open_storage(out / "optuna.journal")
    found = []
    for name in optuna.get_all_study_names(storage):
        budget_bytes = int(name.rpartition("-")[2])
        for trial in optuna.load_study(study_name=name, storage=storage).trials:
            trial_id = trial.user_attrs.get(TRIAL_ID)
            # a refused trial whose row was written last is copied into its study at the next start
            is_own = COPIED not in trial.user_attrs or budgets.get(trial_id) == budget_bytes
            if trial_id is not None and is_own:
                found.append((trial_id, budget_bytes))
    return found


class TinyTrial(tune.Trainable):
    """A trial that trains nothing and reports one epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration."""
        self._given = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next one."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Report the end."""
        config, trial_id = self._given["config"], self._given["trial_id"]
        record = dataclasses.replace(
            unstarted_record(config, trial_id, self._given["sweep"], RuntimeError()),
            status=TrialStatus.COMPLETED,
            error=None,
            failed_by=None,
            group=self._given["group"],
            metric=config.learning_rate,
            peak_allocated_bytes=_NEEDED_BYTES,
            epochs_done=1,
        )
        epoch = EpochRecord(
            trial_id=trial_id,
            epoch=1,
            train_loss=1.0,
            learning_rate=config.learning_rate,
            metric_name="accuracy",
            metric=record.metric,
            train_time_s=0.0,
            validation_time_s=0.0,
            images_per_s=1.0,
        )
        return {RECORD: OpaqueRow(record.to_row()), EPOCH: OpaqueRow(epoch.to_row()), "done": True}


_NEEDED_BYTES = 10_000_000


def _fits(config: TrialConfig) -> Predicted:
    return Predicted(_NEEDED_BYTES)


def _memory(num_trials: int) -> str:
    cluster.quieten()
    held: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="patchtrain-chaos-") as out:
        arguments = ["--smoke-test", "--vary", "learning_rate", "--sampler", "random", "--out", out]
        options = parser(SWEEP).parse_args([*arguments, "--num-trials", str(num_trials)])
        plan = make_plan(SWEEP, options)

        def announce(record: TrialRecord) -> None:
            number = int(record.trial_id) + 1
            if number % max(1, num_trials // 20) == 0:
                held.append((number, _resident_bytes()))
                print(*held[-1], flush=True)

        folder = RunFolder(plan.out)
        with cluster.connected(None):
            room = placement.survey(None, folder.gpus_path, asks_gpus=False, precision="fp32")
            places = placement.Placement(plan.space.base, plan.budgets_bytes, room)
            folder.open(plan.description())
            course = Course(plan, folder, places, announce, 2, trainable=TinyTrial)
            search = make_search(plan, folder, "cpu", _fits, announce)
            begun_at = time.monotonic()
            course.run(search, None)
            took_s = time.monotonic() - begun_at
            num_done = len(folder.records())
            folder.close()
    later = [pair for pair in held if pair[0] >= num_trials / 4]
    growth = (later[-1][1] - later[0][1]) / (later[-1][0] - later[0][0])
    lines = [
        "# Memory of a driver of many trials",
        "",
        f"`python benchmarks/chaos.py memory --trials {num_trials}`: {num_done} trials that train "
        f"nothing, {took_s:.0f} s; resident memory of the driver's process.",
        "",
        "| trials | MB |",
        "| --- | --- |",
        *(f"| {number} | {size / 1e6:.1f} |" for number, size in held),
        "",
        f"From trial {later[0][0]} on it grows by {growth * 100 / 1e6:.2f} MB for 100 trials "
        f"(goal: under {_GOAL_BYTES * 100 / 1e6:.0f}).",
        "",
        _versions(),
        "",
    ]
    return "\n".join(lines)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _versions() -> str:
    return json.dumps({name: version(name) for name in ("ray", "optuna", "torch")})


if __name__ == "__main__":
    main()
