"""What is said of files that the operating system would not give."""

from __future__ import annotations

import errno
import os

import pytest

from patchtrain.checkpoint import load_state
from patchtrain.errors import DataError, not_given
from patchtrain.images import open_image

_RIGHTS = PermissionError(errno.EACCES, "Permission denied")
_DISK = OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    "error, said",
    [
        (_RIGHTS, "may not be read (Permission denied); let the user who runs this read it"),
        (_DISK, "cannot be read at the moment (Input/output error); check its disk, then try"),
        (OSError(errno.EMFILE, "Too many open files"), "cannot be read at the moment"),
    ],
)
def test_the_system_is_to_blame(error, said):
    assert str(not_given(error)).startswith(said)


@pytest.mark.parametrize(
    "error", [OSError("image file is truncated"), OSError(errno.EINVAL, "x"), ValueError("x")]
)
def test_the_content_may_be_to_blame(error):
    assert not_given(error) is None


@pytest.mark.parametrize("error", [_RIGHTS, _DISK])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.svs"])
def test_images_that_may_not_be_read_are_not_called_damaged(tmp_path, monkeypatch, error, name):
    (tmp_path / name).write_bytes(b"II*\0" + bytes(99))

    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError) as caught:
        open_image(tmp_path / name)
    assert str(error.strerror) in str(caught.value)
    assert "restore" not in str(caught.value)


def test_checkpoints_that_may_not_be_read_are_not_to_be_removed(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")

    def refuse(*arguments, **options):
        raise _RIGHTS

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(DataError, match=r"state\.json: may not be read") as caught:
        load_state(tmp_path)
    assert "remove" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_entered(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.png").touch()
    (tmp_path / "d").chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        open_image(tmp_path / "d" / "a.png")
    (tmp_path / "d").chmod(0o700)
