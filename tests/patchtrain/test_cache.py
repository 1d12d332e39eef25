"""Where the cache is, also where there is no home folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from patchtrain.cache import cache_dir
from patchtrain.cli import main


@pytest.fixture
def bare(monkeypatch):
    for name in ("PATCHTRAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_cache_is_in_the_home_folder(bare, tmp_path):
    bare.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "patchtrain"
    bare.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "patchtrain"


@pytest.mark.parametrize("home", ["/nonexistent", "/proc/nowhere", ""])
def test_without_a_home_folder_it_is_in_the_temporary_one(bare, home):
    bare.setenv("HOME", home)
    expected = Path(tempfile.gettempdir()) / f"patchtrain-{os.getuid()}"
    assert cache_dir() in (expected, Path.home() / ".cache" / "patchtrain")
    assert home == "" or cache_dir() == expected


@pytest.mark.parametrize(
    "out", ["s3://bucket/run", "gs://b", "hdfs://host:9000/x", "file:///tmp/x"]
)
def test_a_uri_is_no_folder_to_write_to(tmp_path, monkeypatch, capsys, out):
    monkeypatch.chdir(tmp_path)
    assert main(["sample-data", "panda", out, "--num-images", "3"]) == 2
    assert "is a URI (" in capsys.readouterr().err
    (tmp_path / "t.yaml").write_text("epochs: 1\n")
    assert main(["train", "t.yaml", "--out", out]) == 2
    assert "is a URI (" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.yaml"]
