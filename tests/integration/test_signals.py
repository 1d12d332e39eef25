"""A sweep that is told to end says how to go on, whoever tells it."""

from __future__ import annotations

import signal

import pytest
from integration.sweep_process import by_id, rows_of, starter, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "number, status",
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_sweep_with_the_command_to_go_on(tmp_path, number, status):
    out = tmp_path / "run"
    with starter() as start:
        sweep = start(
            out,
            *("--num-trials", "50", "--epochs", "4", "--budgets", "100MB"),
            *("--set", "sample_num_images=48"),  # else epochs are over before they can be saved
            preexec_fn=lambda: (
                [  # as in a shell, however the tests were started
                    signal.signal(each, signal.SIG_DFL) for each in (signal.SIGTERM, signal.SIGHUP)
                ]
                + [signal.signal(signal.SIGINT, signal.default_int_handler)]
            ),
        )
        wait_until(lambda: rows_of(out), sweep)
        wait_until(lambda: list(out.glob("trials/*/checkpoint.txt")), sweep)
        sweep.send_signal(number)
        said, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == status, errors
    assert "; continue with: python" in said and said.rstrip().endswith("--resume")
    assert ("by SIGTERM" in said, "by SIGHUP" in said) == (status == 143, status == 129)
    rows = rows_of(out)
    own = {path.parent.name for path in out.glob("trials/*/record.json")}
    assert own == set(by_id(rows)), "the joint file is up to date"
    saved = {path.parent.name for path in out.glob("trials/*/stopped")}
    assert saved and not saved & own
    assert f"{len(saved)} of " in said
    assert not (out / "stopping").exists()
