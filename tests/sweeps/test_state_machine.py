"""Random lives of a sweep: kills, lost workers, full disks, more trials, more budgets.

Seeds are fixed, so a run repeats exactly. A life that fails is made as short as it can be, and
printed as the calls that lead to it.
"""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from failing_files import WAYS, Died
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from simulated_sweep import SimulatedSweep, Start, run_on, simulated

from patchtrain.errors import ConfigError
from sweeps.errors import Unfinished

pytestmark = [
    pytest.mark.timeout(900),  # making a life that fails short takes minutes
    pytest.mark.skipif(
        sys.version_info < (3, 11), reason="pathlib keeps its own copies of os functions there"
    ),
]

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where a folder's files cost the least time; None: where temporary files are."""

MORE_BUDGETS = (36_000_000, 48_000_000)


def is_driven(machine):
    return machine.start is not None


def is_running(machine):
    return is_driven(machine) and machine.start.running


def is_alone(machine):
    return machine.start is None


class SweepLife(RuleBasedStateMachine):
    """What happens to one RUN_DIR."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="patchtrain-life-", dir=IN_MEMORY))
        self.sweep = SimulatedSweep(self.folder / "run", num_trials=2)
        self.start = None
        self.stack = ExitStack()
        self.files = self.stack.enter_context(simulated(self.sweep))

    @initialize(num_seeds=st.sampled_from([1, 1, 1, 2]))
    def choose(self, num_seeds):
        self.sweep.num_seeds = num_seeds

    @precondition(is_alone)
    @rule(retry_failed=st.booleans())
    def begin(self, retry_failed):
        """Start the driver, or start it again."""
        begun = (self.sweep.run_dir / "sweep.json").exists()
        with self.whatever_happens():
            self.start = Start(self.sweep, retry_failed=retry_failed and begun)

    @precondition(is_driven)
    @rule()
    def ask(self):
        with self.whatever_happens():
            if len(self.start.running) < 2:
                self.start.ask()

    @precondition(is_running)
    @rule(which=st.integers(0, 1))
    def run_epoch(self, which):
        with self.whatever_happens():
            self.start.run_epoch(self.trial(which))

    @precondition(is_running)
    @rule(which=st.integers(0, 1), how=st.sampled_from(["memory", "data", "scheduler"]))
    def end_badly(self, which, how):
        trial = self.trial(which)
        with self.whatever_happens():
            if how == "memory":
                self.start.run_out_of_memory(trial)
            elif how == "data":
                self.start.lose_data(trial)
            elif trial.last_result:
                self.start.stop_early(trial)

    @precondition(is_running)
    @rule(which=st.integers(0, 1))
    def lose_worker(self, which):
        with self.whatever_happens():
            self.start.lose_worker(self.trial(which))

    @precondition(is_running)
    @rule()
    def lose_node(self):
        """All trials lose their worker."""
        with self.whatever_happens():
            for trial in list(self.start.running.values()):
                self.start.lose_worker(trial)

    @precondition(is_driven)
    @rule()
    def go_on_with_replicates(self):
        if self.start.search.is_done and self.sweep.num_seeds > 1:
            with self.whatever_happens():
                self.start.replicate()

    @precondition(is_driven)
    @rule()
    def kill_driver(self):
        self.files.die()
        self.gone()

    @precondition(is_driven)
    @rule(way=st.sampled_from(WAYS), after=st.integers(0, 30))
    def break_disk(self, way, after):
        """Kill the driver, or fill the disk, at one of its next writes."""
        self.files.way, self.files.stop_at = way, len(self.files.changes) + after

    @precondition(is_driven)
    @rule()
    def stop_driver(self):
        """As Ctrl-C does."""
        with self.whatever_happens():
            self.start.close()
            self.gone()

    @precondition(is_alone)
    @rule()
    def raise_trials(self):
        self.sweep.num_trials += 1

    @precondition(is_alone)
    @rule(which=st.sampled_from(MORE_BUDGETS))
    def add_budget(self, which):
        if (self.sweep.run_dir / "sweep.json").exists():
            self.sweep.budgets_bytes = tuple(sorted({*self.sweep.budgets_bytes, which}))

    @invariant()
    def nothing_is_lost(self):
        if is_alone(self):
            self.sweep.check()

    def teardown(self):
        try:
            if self.start is not None:
                self.files.die()
                self.gone()
            run_on(self.sweep)
            self.sweep.check_end()
        finally:
            self.stack.close()
            shutil.rmtree(self.folder)

    def trial(self, which):
        running = list(self.start.running.values())
        return running[which % len(running)]

    def gone(self):
        """Note that the driver's process is gone; the next one finds the disk mended."""
        self.start = None
        self.files.revive()

    def whatever_happens(self):
        """Context: the driver may die, or end over what it cannot write."""
        machine = self

        class Context:
            def __enter__(self):
                pass

            def __exit__(self, kind, error, traceback):
                if kind is None:
                    return False
                if not issubclass(kind, (Died, OSError, ConfigError, Unfinished)):
                    return False
                assert kind is Unfinished or machine.files.stop_at is not None, repr(error)
                if kind is not Died and machine.start is not None:
                    with suppress(Died, OSError):
                        machine.start.close()
                if not machine.files.is_dead:
                    machine.files.die()
                machine.gone()
                return True

        return Context()


def live(number, num_lives):
    """Live the lives of a seed."""
    run_state_machine_as_test(
        seed(number)(SweepLife),
        settings=settings(
            max_examples=num_lives,
            stateful_step_count=20,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_life_loses_anything():
    live(0, 50)


@pytest.mark.slow
class TestFiveHundredLives:
    def test_lose_nothing(self):
        live(1, 500)


@pytest.mark.slow
class TestFiveHundredOthers:  # in a class of its own, so that two processes share the work
    def test_lose_nothing(self):
        live(2, 500)
