"""The journal on a disk that fails: every entry once and whole, and the study goes on."""

import errno
import json
import os
from functools import partial
from types import SimpleNamespace

import optuna
import pytest
from small_disk import fill, small_disk

from sweeps.results.journal import PatientJournalFile, open_storage
from sweeps.results.patience import patiently

ENTRIES = [{"op_code": 0, "text": "a" * 200}, {"op_code": 4, "text": "ä"}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "optuna.journal"


@pytest.fixture
def journal(path):
    return PatientJournalFile(path)


@pytest.fixture
def faults(monkeypatch):
    """What the file system refuses, until somebody slept for it."""
    state = SimpleNamespace(refused=set(), num_bytes=10**9, pauses=0)
    write, sync, truncate = os.pwrite, os.fsync, os.ftruncate

    def check(name):
        if name in state.refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def pwrite(descriptor, data, offset):
        if "write" in state.refused and state.num_bytes > 0:
            taken = write(descriptor, data[: state.num_bytes], offset)
            state.num_bytes -= taken
            return taken
        check("write")
        return write(descriptor, data, offset)

    def fsync(descriptor):
        check("sync")
        sync(descriptor)

    def ftruncate(descriptor, size):
        check("truncate")
        truncate(descriptor, size)

    def sleep(_):
        state.pauses += 1
        if state.pauses == 3:
            state.refused.clear()

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    monkeypatch.setattr("sweeps.results.journal.patiently", partial(patiently, sleep=sleep))
    return state


def entries_in(path):
    content = path.read_bytes()
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def test_entries_are_written_as_optuna_writes_them(journal, path):
    journal.append_logs(ENTRIES)
    theirs = optuna.storages.journal.JournalFileBackend(f"{path}.other")
    theirs.append_logs(ENTRIES)
    assert path.read_bytes() == path.with_name("optuna.journal.other").read_bytes()
    assert list(journal.read_logs(0)) == ENTRIES
    assert list(journal.read_logs(1)) == ENTRIES[1:]


@pytest.mark.parametrize(
    "refused", [{"write"}, {"sync"}, {"write", "truncate"}, {"sync", "truncate"}]
)
@pytest.mark.parametrize("num_bytes", [0, 100, 250])
def test_a_part_of_an_entry_is_cut_off_before_the_next_attempt(
    journal, path, faults, refused, num_bytes
):
    journal.append_logs(ENTRIES[:1])
    faults.refused, faults.num_bytes = set(refused), num_bytes
    journal.append_logs(ENTRIES)
    assert faults.pauses == 3
    assert entries_in(path) == ENTRIES[:1] + ENTRIES
    assert not os.path.lexists(f"{path}.lock")
    journal.append_logs(ENTRIES[1:])
    assert entries_in(path) == ENTRIES[:1] + ENTRIES + ENTRIES[1:]


def test_who_waits_in_vain_leaves_the_journal_as_it_was(journal, path, faults, monkeypatch):
    monkeypatch.setattr("sweeps.results.journal.patiently", partial(patiently, limit_s=0))
    journal.append_logs(ENTRIES)
    faults.refused, faults.num_bytes = {"write"}, 100
    with pytest.raises(OSError, match="No space left"):
        journal.append_logs(ENTRIES)
    assert entries_in(path) == ENTRIES


def test_a_written_entry_is_not_repeated_because_the_lock_is_stuck(journal, path, monkeypatch):
    def stuck():
        raise RuntimeError("Error: did not possess lock")

    monkeypatch.setattr(journal._lock, "release", stuck)
    journal.append_logs(ENTRIES)
    assert entries_in(path) == ENTRIES


def test_a_journal_that_is_away_is_not_begun_anew(journal, path, monkeypatch):
    journal.append_logs(ENTRIES)
    away = path.with_name("away")

    def come_back(_):
        assert not path.exists()
        away.rename(path)

    monkeypatch.setattr("sweeps.results.journal.patiently", partial(patiently, sleep=come_back))
    path.rename(away)
    journal.append_logs(ENTRIES)
    path.rename(away)
    assert list(journal.read_logs(2)) == ENTRIES
    assert entries_in(path) == ENTRIES + ENTRIES


def test_a_study_outlives_a_full_disk(tmp_path, monkeypatch, capsys):
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        filler = disk / "filler"
        study = optuna.create_study(storage=open_storage(disk / "journal"), study_name="test")

        def make_room(_):
            assert filler.exists()
            filler.unlink()

        monkeypatch.setattr("sweeps.results.journal.patiently", partial(patiently, sleep=make_room))
        num_waits = 0
        for number in range(60):
            if number % 10 == 9:
                fill(filler)
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            trial.set_user_attr("text", "a" * 1000)
            study.tell(trial, number)
            num_waits += number % 10 == 9 and not filler.exists()
            filler.unlink(missing_ok=True)
        assert num_waits > 0
        assert capsys.readouterr().err.count("free some space") == num_waits
        again = optuna.load_study(storage=open_storage(disk / "journal"), study_name="test")
        assert [trial.value for trial in again.trials] == list(range(60))
        assert all(trial.state.is_finished() for trial in again.trials)


def test_a_torn_last_line_is_cut_off_when_the_storage_is_opened(path):
    study = optuna.create_study(storage=open_storage(path), study_name="test")
    study.add_trial(optuna.create_trial(value=1.0))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    again = optuna.load_study(storage=open_storage(path), study_name="test")
    assert [trial.value for trial in again.trials] == [1.0]
    assert path.read_bytes() == whole
