"""Runs one check in a child process with a time limit; a crash and a hang are findings too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from patchtrain.doctor.checks import Check
from patchtrain.doctor.finding import Finding, failed

_LAST_LINES = 3


_CHILD = "patchtrain.doctor.child"


def run_check(check: Check, device: str, child: str = _CHILD) -> Finding:
    """Return what `check` finds on `device`, such as `cuda:0`.

    Args:
        child: module to run in the process.
    """
    command = [sys.executable, "-m", child, check.name, device]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=check.limit_s
        )
    except subprocess.TimeoutExpired:
        return failed(f"no answer within {check.limit_s} s", "is the GPU in use by others?")
    found = _finding(done.stdout)
    if found is not None and done.returncode == 0:
        return found
    said = " / ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
    return failed(f"the process ended with {_ending(done.returncode)}: {said}", check.if_it_crashes)


def _finding(output: str) -> Finding | None:
    """Return what a child printed last; None if that is no finding."""
    lines = output.strip().splitlines()
    try:
        return Finding(**json.loads(lines[-1])) if lines else None
    except (ValueError, TypeError):
        return None


def _ending(status: int) -> str:
    """Return, as text, how a process ended: its status, or the signal that killed it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
