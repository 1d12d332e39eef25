import subprocess
import sys
from pathlib import Path

import pytest

from patchtrain.cache import cache_dir
from patchtrain.config import TrialConfig
from patchtrain.datasets import load_all, load_dataset
from patchtrain.errors import ConfigError

SMALL = {"image_size": 64, "patch_size": 32, "sample_num_images": 12}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_data_dir_sample_slides_are_made_once(cache_folder):
    data = load_dataset(TrialConfig(**SMALL))
    assert data.is_sample
    assert data.data_dir == cache_folder / "samples" / "panda-v1-n12-px64-seed0"
    assert (len(data.train), len(data.val)) == (10, 2)
    before = data.data_dir.stat().st_mtime_ns
    assert load_dataset(TrialConfig(**SMALL)) == data
    assert data.data_dir.stat().st_mtime_ns == before
    assert len(load_all(TrialConfig(**SMALL)).test) == 12


def test_sample_settings_make_another_sample():
    folders = {
        load_dataset(TrialConfig(**(SMALL | change))).data_dir.name
        for change in ({}, {"sample_seed": 1}, {"image_size": 96}, {"sample_num_images": 13})
    }
    assert len(folders) == 4


def test_a_cache_that_cannot_be_written_is_an_error(cache_folder):
    cache_folder.write_text("a file in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        load_dataset(TrialConfig(**SMALL))


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PATCHTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "patchtrain"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "patchtrain"


def test_importing_data_sets_imports_neither_ray_nor_timm():
    code = "import sys, patchtrain.datasets; print(sorted({'ray', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
