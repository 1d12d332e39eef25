"""Sweeps as processes, as a user starts them, and what they leave: shared by whole-sweep tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.results.journal import open_storage
from sweeps.search.study import COPIED, TRIAL_ID

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "sweeps"
FEW_IMAGES = ("--set", "sample_num_images=24", "--image-size", "128")


def start_process(
    out: Path, *arguments: str, name: str = "panda_budget", **options: Any
) -> subprocess.Popen[str]:
    """Start the script `name` as a user would, away from the repository's folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [
            sys.executable,
            str(SCRIPTS / f"{name}.py"),
            "--smoke-test",
            *FEW_IMAGES,
            "--out",
            str(out),
            *arguments,
        ],
        cwd=out.parent,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **(pipes | options),
    )


def run_sweep(out: Path, *arguments: str, name: str = "panda_budget") -> tuple[int, str, str]:
    """Run a sweep to its end; return its exit status, output and errors."""
    process = start_process(out, *arguments, name=name)
    output, errors = process.communicate(timeout=400)
    return process.returncode, output, errors


@contextmanager
def starter() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Context: a `start_process` whose sweeps do not outlive it."""
    started = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(start_process(*arguments, **options))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def wait_until(
    condition: Callable[[], Any], process: subprocess.Popen[str], timeout_s: float = 240
) -> None:
    """Wait for `condition` while `process` runs."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(0.05)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Read the rows of the trials that are finished."""
    return rows_in(out / "trials.parquet")


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Read rows while a sweep runs, of one version of the file."""
    return pq.read_table(pa.BufferReader(path.read_bytes())).to_pylist() if path.exists() else []


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows by trial id."""
    return {row["trial_id"]: row for row in rows}


def check_studies(out: Path, trial_ids: Any) -> None:
    """Check that every trial is in the study of its budget exactly once, finished."""
    storage = open_storage(out / "optuna.journal")
    own = [
        (trial.user_attrs[TRIAL_ID], trial.state.is_finished())
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
        if TRIAL_ID in trial.user_attrs and COPIED not in trial.user_attrs
    ]
    assert sorted(own) == [(trial_id, True) for trial_id in sorted(trial_ids)]
