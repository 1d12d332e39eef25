"""A sweep that stops at any of its writes, syncs or renames, or finds the disk failing there.

Whatever the point, the next start goes on: no finished row is lost, no trial that has one runs
again, every file can be read, and at the end nothing is left lying about.
"""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from failing_files import DIES, WAYS, Died, content_of, one_of_each_kind
from simulated_sweep import SimulatedSweep, run_on, simulated

from patchtrain.errors import ConfigError

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="pathlib keeps its own copies of os functions there"
)

SETTINGS = {"num_trials": 6, "num_seeds": 2}


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """What a sweep does to its folder that nothing disturbs."""
    sweep = SimulatedSweep(tmp_path_factory.mktemp("whole") / "run", **SETTINGS)
    with simulated(sweep) as files:
        run_on(sweep)
    sweep.check_end()
    return files.changes


def stop_and_go_on(run_dir, way, number):
    """Stop a new sweep at one of its changes, and check what the next start makes of it."""
    sweep = SimulatedSweep(run_dir, **SETTINGS)
    with simulated(sweep, stop_at=number, way=way) as files, suppress(Died, OSError, ConfigError):
        run_on(sweep)
    if way == DIES:
        assert content_of(run_dir) == files.at_death, "a write was not seen"
    sweep.check()
    run_on(sweep)
    sweep.check_end()


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_at_a_point_of_each_kind(changes, tmp_path, way):
    points = one_of_each_kind(changes)
    # a process that goes on is asked at half of them; the slow test asks everywhere
    for number in points if way == DIES else points[WAYS.index(way) :: 2]:
        stop_and_go_on(tmp_path / str(number), way, number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_at_any_point(changes, tmp_path, way, capsys):
    for number in range(len(changes)):
        stop_and_go_on(tmp_path / str(number), way, number)
    with capsys.disabled():
        print(f"\nrun folder, {way}: {len(changes)} points tried")


def test_the_simulation_meets_what_it_is_for(changes):
    """Every file of a sweep and every kind of change is among its points."""
    files = {Path(change.split()[1]).name.lstrip(".").split(".")[0] for change in changes}
    assert files >= {"lock", "sweep", "inputs", "optuna", "trials", "epochs", "config", "record"}
    kinds = {change.split()[0] for change in changes}
    assert kinds >= {"open", "write", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir"}
