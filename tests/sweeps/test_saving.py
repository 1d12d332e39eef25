"""A worker's checkpoint on a disk that is full, or that is away for a while; no Ray started."""

import errno
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest
from ray.train._internal.storage import StorageContext
from small_disk import fill, small_disk

from sweeps.results.patience import patiently
from sweeps.trainable import BudgetTrainable

SIZE_BYTES = 300_000


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 1024 * 1024) as disk:
        yield disk


@pytest.fixture
def worker(disk, tmp_path, monkeypatch):
    """A worker whose checkpoints are one file; `num_written` counts them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    storage = StorageContext(storage_path=str(disk / "tune"), experiment_dir_name="0000")
    storage.trial_dir_name = "00000"
    worker = BudgetTrainable.__new__(BudgetTrainable)
    worker._storage, worker._last_result, worker.num_written = storage, {}, 0

    def save_checkpoint(folder):
        worker.num_written += 1
        Path(folder, "weights").write_bytes(bytes([worker.num_written]) * SIZE_BYTES)

    worker.save_checkpoint = save_checkpoint
    return worker


def wait_with(monkeypatch, sleep):
    monkeypatch.setattr("sweeps.trainable.patiently", partial(patiently, sleep=sleep))


def checkpoints_on(disk):
    return sorted(path.name for path in disk.glob("tune/0000/00000/*"))


def test_a_checkpoint_waits_for_room_and_is_whole(worker, disk, tmp_path, monkeypatch, capsys):
    first = worker.save()
    filler, seen = disk / "filler", []

    def make_room(_):
        seen.append(checkpoints_on(disk))
        if len(seen) == 3:
            filler.unlink()

    wait_with(monkeypatch, make_room)
    fill(filler)
    os.truncate(filler, filler.stat().st_size - SIZE_BYTES // 2)  # room for a half
    second = worker.save()
    assert seen == [["checkpoint_000000"]] * 3  # no half one is left
    assert [Path(saved.checkpoint.path).name for saved in (first, second)] == [
        "checkpoint_000000",
        "checkpoint_000001",
    ]
    weights = Path(second.checkpoint.path, "weights").read_bytes()
    assert weights == bytes([worker.num_written]) * SIZE_BYTES
    assert "free some space" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]  # nor a temporary one


def test_a_full_disk_for_temporary_files_is_waited_for_too(worker, monkeypatch):
    pauses, write = [], worker.save_checkpoint

    def full(folder):
        write(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sleep(pause_s):
        pauses.append(pause_s)
        worker.save_checkpoint = write

    wait_with(monkeypatch, sleep)
    worker.save_checkpoint = full
    saved = worker.save()
    assert (len(pauses), Path(saved.checkpoint.path).name) == (1, "checkpoint_000000")


def test_a_folder_that_was_there_is_waited_for(worker, disk, monkeypatch):
    worker.save()
    away = disk / "away"

    def come_back(_):
        assert not (disk / "tune").exists()
        away.rename(disk / "tune")

    wait_with(monkeypatch, come_back)
    (disk / "tune").rename(away)
    worker.save()
    assert checkpoints_on(disk) == ["checkpoint_000000", "checkpoint_000001"]


def test_a_folder_that_is_not_shared_is_not_waited_for_long(worker, disk, monkeypatch):
    now = [0.0]

    def sleep(pause_s):
        now[0] += pause_s

    monkeypatch.setattr(
        "sweeps.trainable.patiently", partial(patiently, clock=lambda: now[0], sleep=sleep)
    )
    (disk / "tune").rename(disk / "elsewhere")
    with pytest.raises(FileNotFoundError):
        worker.save()
    assert now[0] == 120


def test_an_error_of_the_trainer_is_raised_at_once(worker, disk):
    worker.save()
    worker.save_checkpoint = lambda folder: 1 / 0
    with pytest.raises(ZeroDivisionError):
        worker.save()
    assert checkpoints_on(disk) == ["checkpoint_000000"]
