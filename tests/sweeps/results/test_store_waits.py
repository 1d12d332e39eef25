"""A run folder that cannot be written for a while."""

import errno
import os
from functools import partial
from types import SimpleNamespace

import pytest
from run_folder import DESCRIPTION, epoch_of, ids_of, record_of

from patchtrain.config import TrialConfig
from patchtrain.record import read_rows
from sweeps.results.patience import patiently
from sweeps.results.store import RunFolder


@pytest.fixture
def file_system(monkeypatch):
    """A file system that does not take a number of files, and time that flies meanwhile."""
    state = SimpleNamespace(failures_left=0, error=errno.ENOSPC, slept_s=0.0)
    replace = os.replace

    def replace_maybe(*arguments, **options):
        if state.failures_left > 0:
            state.failures_left -= 1
            raise OSError(state.error, os.strerror(state.error))
        return replace(*arguments, **options)

    def sleep(seconds):
        state.slept_s += seconds

    monkeypatch.setattr(os, "replace", replace_maybe)
    monkeypatch.setattr("sweeps.results.store.patiently", partial(patiently, sleep=sleep))
    return state


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ESTALE])
def test_every_file_waits_for_a_folder_that_cannot_be_written(folder, file_system, error, capsys):
    file_system.error = error
    writes = [
        partial(folder.add_config, "00000", TrialConfig()),
        partial(folder.add_epoch, epoch_of("00000", 1)),
        partial(folder.checkpoints.note, "00000", str(folder.path / "checkpoint_000000")),
        partial(folder.add_record, record_of("00000")),
        folder.close,
    ]
    for write in writes:
        file_system.failures_left = 3
        folder._joint_trials.is_stale = True  # so that closing has something to do
        write()
        assert file_system.failures_left == 0
        waiting, again = capsys.readouterr().err.splitlines()
        assert waiting.startswith(f"{folder.path} cannot be written ({os.strerror(error)})")
        assert again == f"{folder.path} can be written again"
    assert file_system.slept_s > 1
    assert [row["trial_id"] for row in read_rows(folder.trials_path)] == ["00000"]
    assert len(read_rows(folder.epochs_path)) == 1
    assert not list(folder.path.rglob("*.tmp"))


def test_nothing_is_written_into_what_a_missing_mount_leaves(folder, monkeypatch):
    there, away = folder.path, folder.path.with_name("away")

    def come_back(_):
        assert list(there.iterdir()) == []
        there.rmdir()
        away.rename(there)

    monkeypatch.setattr("sweeps.results.store.patiently", partial(patiently, sleep=come_back))
    there.rename(away)
    there.mkdir()  # a mount point is an empty folder
    folder.add_record(record_of("00000"))
    assert len(read_rows(folder.trials_path)) == 1
    assert not away.exists()


def test_closing_does_not_wait_after_a_write_that_waited_in_vain(folder, file_system, monkeypatch):
    folder.add_record(record_of("00000"))
    file_system.failures_left = 10**9
    limited = partial(patiently, clock=lambda: file_system.slept_s, sleep=lambda _: wait(1000))

    def wait(seconds):
        file_system.slept_s += seconds

    monkeypatch.setattr("sweeps.results.store.patiently", limited)
    with pytest.raises(OSError, match="No space left"):
        folder.add_record(record_of("00001"))
    waited_s = file_system.slept_s
    assert 3600 <= waited_s <= 5000
    folder._joint_trials.is_stale = True
    folder.close()
    assert file_system.slept_s == waited_s
    file_system.failures_left = 0
    again = RunFolder(folder.path)
    again.open(DESCRIPTION)
    assert ids_of(again.records()) == ["00000"]
    again.close()


def test_ctrl_c_ends_the_wait(folder, file_system, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.results.store.patiently", partial(patiently, sleep=interrupt))
    file_system.failures_left = 10**9
    with pytest.raises(KeyboardInterrupt):
        folder.add_record(record_of("00000"))
    folder._joint_trials.is_stale = True
    folder.close()  # says nothing more
