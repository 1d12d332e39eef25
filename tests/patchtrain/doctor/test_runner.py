"""A check's process may crash, hang or talk nonsense: each is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchtrain.doctor.checks import CHECKS, Check, check_named
from patchtrain.doctor.finding import FAILED, OK, Finding
from patchtrain.doctor.runner import run_check


@pytest.fixture(autouse=True)
def children_find_the_module(monkeypatch):
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{root}")


def found(how, limit_s=30.0):
    check = Check(name=how, run=lambda device: None, limit_s=limit_s, if_it_crashes="do this")
    return run_check(check, "cuda:0", child="doctor_child")


def test_the_last_line_is_the_finding():
    assert found("talk") == Finding(OK, "fine", "", {"size": 3})


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("crash", "the process ended with SIGSEGV"),
        ("exit", "the process ended with exit status 7: the driver went away"),
        ("nonsense", "the process ended with exit status 0"),
    ],
)
def test_a_process_without_a_finding_is_one(how, told):
    ended = found(how)
    assert ended.status == FAILED and ended.told.startswith(told)
    assert ended.remedy == "do this"


def test_a_process_that_hangs_is_ended():
    assert found("hang", limit_s=5.0).told == "no answer within 5.0 s"


def test_a_check_runs_in_a_process_of_its_own():
    ended = run_check(check_named("data workers"), "cuda:0")
    assert ended.status != FAILED
    assert ended.figures["shared_memory_bytes"] > 0


def test_names_are_unique_and_quick_checks_are_few():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert sum(check.limit_s for check in CHECKS if check.is_quick) <= 600
