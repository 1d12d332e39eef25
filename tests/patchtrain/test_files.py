from __future__ import annotations

from pathlib import Path

import pytest

from patchtrain.errors import ConfigError
from patchtrain.files import check_writable


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
