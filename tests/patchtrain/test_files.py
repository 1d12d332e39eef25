from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchtrain.errors import ConfigError
from patchtrain.files import atomic_path, check_replaceable, check_writable


def test_a_folder_that_can_be_made_is_accepted_and_not_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "below", "far/below"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out .*file"):
        check_writable(tmp_path / "file" / below)


def test_where_nobody_may_write_is_refused_even_for_root():
    with pytest.raises(ConfigError, match="--out /proc/nothing cannot be written"):
        check_writable(Path("/proc/nothing"))


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(ConfigError, match="is there and is no ordinary file"):
            check_replaceable(path)
        with pytest.raises(OSError, match="is no ordinary file"), atomic_path(path):
            raise AssertionError("not reached")
    assert (tmp_path / "pipe").is_fifo() and list(tmp_path.iterdir()) == [tmp_path / "pipe"]
    check_replaceable(tmp_path / "new")
