"""Processes with a guard on one GPU know of each other, and measure one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from patchtrain.memory import neighbours
from patchtrain.memory.neighbours import Neighbours

HOLD = """
import sys
from patchtrain.memory.neighbours import Neighbours
one = Neighbours("gpu")
one.join()
with one.turn() as is_sure:
    print(is_sure, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def other():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_the_others_are_those_that_live_and_joined(other):
    mine = Neighbours("gpu")
    mine.join()
    assert mine.others() == [other.pid]
    assert Neighbours("another gpu").others() == []
    other.kill()
    other.wait()
    assert mine.others() == []


def test_who_left_is_no_neighbour(folder):
    mine = Neighbours("gpu")
    mine.join()
    assert (folder / "patchtrain-gpu-gpu" / str(os.getpid())).exists()
    mine.leave()
    mine.leave()
    assert not (folder / "patchtrain-gpu-gpu" / str(os.getpid())).exists()


def test_a_turn_is_waited_for_but_not_for_ever(other, monkeypatch):
    monkeypatch.setattr(neighbours, "_PATIENCE_S", 0.2)
    with Neighbours("gpu").turn() as is_sure:
        assert not is_sure
    other.kill()
    other.wait()
    with Neighbours("gpu").turn() as is_sure:
        assert is_sure


def test_a_folder_that_cannot_be_made_is_no_error(folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "file"))
    mine = Neighbours("gpu")
    mine.join()
    assert mine.others() == []
    with mine.turn() as is_sure:
        assert not is_sure


def test_the_lock_is_for_all_users(folder):
    before = os.umask(0o077)
    try:
        with Neighbours("gpu").turn() as is_sure:
            assert is_sure
    finally:
        os.umask(before)
    lock = folder / "patchtrain-gpu-gpu" / "lock"
    assert lock.stat().st_mode & 0o777 == 0o666
    assert lock.parent.stat().st_mode & 0o777 == 0o777
