"""Waiting for a storage: for what, how long, and what is said."""

import errno
import io
import os
import sys
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from small_disk import small_disk

from patchtrain.errors import ConfigError
from sweeps.results.patience import PATIENCE_VARIABLE, passing_error, patience_s, patiently


class Time:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.now_s = 0.0
        self.pauses_s = []

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        self.pauses_s.append(seconds)
        self.now_s += seconds


class Storage:
    """Cannot be written until `back_at_s`."""

    def __init__(self, time, error, back_at_s=float("inf")):
        self.time = time
        self.error = error
        self.back_at_s = back_at_s
        self.num_tries = 0

    def write(self):
        self.num_tries += 1
        if self.time.now_s < self.back_at_s:
            raise self.error
        return "written"


@pytest.fixture
def time():
    return Time()


def write(storage, limit_s=3600.0, what="RUN_DIR"):
    time = storage.time
    return patiently(storage.write, what, limit_s=limit_s, clock=time.clock, sleep=time.sleep)


def os_error(number):
    return OSError(number, os.strerror(number))


def test_what_works_is_done_once_without_a_word(time, capsys):
    storage = Storage(time, None, back_at_s=0)
    assert write(storage) == "written"
    assert (storage.num_tries, time.pauses_s) == (1, [])
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_is_waited_for_and_told_of_once(time, capsys):
    storage = Storage(time, os_error(errno.ENOSPC), back_at_s=600)
    assert write(storage) == "written"
    assert 600 <= time.now_s <= 610
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.splitlines() == [
        "RUN_DIR cannot be written (No space left on device): "
        "waiting for it, at most 60 min; free some space",
        "RUN_DIR can be written again",
    ]


def test_pauses_grow_to_ten_seconds(time):
    write(Storage(time, os_error(errno.EIO), back_at_s=60))
    assert time.pauses_s == sorted(time.pauses_s)
    assert time.pauses_s[0] < 0.5
    assert time.pauses_s[-1] == 10


def test_the_wait_ends_with_the_limit(time, capsys):
    storage = Storage(time, os_error(errno.ESTALE))
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        write(storage, limit_s=25)
    assert time.now_s == 25
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("at most 25 s; bring it back")


def test_no_patience_raises_at_once_without_a_word(time, capsys):
    storage = Storage(time, os_error(errno.ENOSPC))
    with pytest.raises(OSError):
        write(storage, limit_s=0)
    assert (storage.num_tries, capsys.readouterr().err) == (1, "")


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.EISDIR),
        os_error(errno.ENAMETOOLONG),
        os_error(errno.EFBIG),
        OSError("no number"),
        ValueError("Out of range float values are not JSON compliant"),
        RuntimeError("CUDA error"),
        KeyboardInterrupt(),
    ],
)
def test_what_does_not_pass_is_raised_at_once(time, error):
    storage = Storage(time, error)
    with pytest.raises(type(error)):
        write(storage)
    assert storage.num_tries == 1


def test_an_error_that_becomes_another_kind_is_raised(time):
    def fail():
        raise os_error(errno.ENOSPC) if time.now_s == 0 else os_error(errno.EISDIR)

    with pytest.raises(IsADirectoryError):
        patiently(fail, "RUN_DIR", limit_s=60, clock=time.clock, sleep=time.sleep)
    assert len(time.pauses_s) == 1


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), errno.EACCES),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), errno.ENOENT),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), errno.ENOTDIR),
        (pa.ArrowIOError(errno.ENOSPC, "Error writing bytes to file"), errno.ENOSPC),
        (OSError("[Errno 28] Error writing bytes to file"), errno.ENOSPC),
        (OSError("Error writing bytes. Detail: [errno 122] Disk quota exceeded"), errno.EDQUOT),
        (RuntimeError("I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), errno.EIO),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), errno.EIO),
        (RuntimeError("[Errno 21] Is a directory"), None),
    ],
)
def test_errors_of_the_storage_are_known_by_number_or_words(error, number):
    assert passing_error(error) == number


def test_libraries_say_of_a_full_disk_what_is_known_here(tmp_path):
    numbers = torch.arange(10**5)
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        writes = [
            partial(torch.save, numbers, disk / "a.pt"),
            partial(save_file, {"a": numbers}, disk / "a.safetensors"),
            partial(pq.write_table, pa.table({"a": numbers.numpy()}), disk / "a.parquet"),
            partial((disk / "a.txt").write_text, "a" * 10**6),
        ]
        for write in writes:
            with pytest.raises(Exception) as raised:
                write()
            assert passing_error(raised.value) is not None, raised.value


def test_the_environment_sets_the_patience(monkeypatch):
    monkeypatch.delenv(PATIENCE_VARIABLE, raising=False)
    assert patience_s() == 3600
    for text, seconds in {"0": 0, "90": 90, "1e3": 1000, "inf": float("inf"), "": 3600}.items():
        monkeypatch.setenv(PATIENCE_VARIABLE, text)
        assert patience_s() == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "an hour"])
def test_a_patience_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv(PATIENCE_VARIABLE, text)
    with pytest.raises(ConfigError, match=rf"{PATIENCE_VARIABLE}='{text}' .*give 0 or more"):
        patience_s()


def test_the_patience_of_the_environment_holds_where_none_is_given(monkeypatch, time):
    monkeypatch.setenv(PATIENCE_VARIABLE, "7")
    with pytest.raises(OSError):
        write(Storage(time, os_error(errno.EDQUOT)), limit_s=None)
    assert time.now_s == 7


def test_an_unwritable_stderr_does_not_matter(monkeypatch, time):
    class FullDisk(io.StringIO):
        def write(self, text):
            raise os_error(errno.ENOSPC)

    monkeypatch.setattr(sys, "stderr", FullDisk())
    assert write(Storage(time, os_error(errno.ENOSPC), back_at_s=1)) == "written"
