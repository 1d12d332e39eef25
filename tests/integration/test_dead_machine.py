"""A sweep whose only machine died ends, and says so, instead of waiting for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from integration.sweep_process import rows_of, starter, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.slow]

GB = 10**9


def _kill_raylet_of(driver: int) -> None:
    """Kill the raylet and the workers that the process `driver` started."""
    listed = subprocess.run(
        ["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    raylets = [int(pid) for pid, parent, args in rows if int(parent) == driver and "raylet" in args]
    assert raylets, "no raylet"
    workers = [int(pid) for pid, parent, _ in rows if int(parent) in raylets]
    for pid in (*raylets, *workers):
        os.kill(pid, signal.SIGKILL)


def test_a_joined_cluster_that_lost_its_last_suitable_node_ends_the_sweep(tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, memory=GB, include_dashboard=False)
        worker = cluster.add_node(num_cpus=1, memory=4 * GB)
        cluster.wait_for_nodes()
        out = tmp_path / "run"
        with starter() as start:
            budget = ("--num-trials", "50", "--epochs", "3", "--budgets", "1GB")
            sweep = start(out, *budget, "--address", cluster.address)
            wait_until(lambda: rows_of(out), sweep)
            cluster.remove_node(worker, allow_graceful=False)
            lost_at = time.monotonic()
            said, errors = sweep.communicate(timeout=200)
    finally:
        cluster.shutdown()
    assert sweep.returncode == 1, (said, errors)
    assert time.monotonic() - lost_at < 120
    assert "no trial can run any more: 1 node is alive" in errors
    assert "continue with: python" in said


def test_a_sweep_without_any_machine_left_ends(tmp_path):
    out = tmp_path / "run"
    with starter() as start:
        sweep = start(out, "--num-trials", "50", "--epochs", "3", "--budgets", "100MB")
        wait_until(lambda: rows_of(out), sweep)
        _kill_raylet_of(sweep.pid)
        killed_at = time.monotonic()
        said, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 1, (said, errors)
    assert time.monotonic() - killed_at < 180
    assert "no trial can run any more: no node is alive" in errors
    assert "continue with: python" in said
