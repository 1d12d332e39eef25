"""Ray's sockets need a short path."""

from __future__ import annotations

import shutil

import pytest

from sweeps.placement.cluster import _MAX_TEMP_DIR_BYTES, _short_temp_dir


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_with_a_long_path_is_not_used_for_sockets(monkeypatch, name):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, "/" + "x" * (_MAX_TEMP_DIR_BYTES - 1))
    assert _short_temp_dir() is None
    monkeypatch.setenv(name, "/" + "x" * _MAX_TEMP_DIR_BYTES)
    made = _short_temp_dir()
    assert made is not None and len(made) <= _MAX_TEMP_DIR_BYTES
    shutil.rmtree(made)
