from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from patchtrain.datasets import data_set, sampled_names
from patchtrain.datasets.samples import cache
from patchtrain.errors import ConfigError

SAMPLED = sampled_names()


def sample_dir(name: str, *numbers: int) -> Path:
    return cache.sample_dir(name, data_set(name), *numbers)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def replace_writer(monkeypatch, name: str, write, version: int = 1) -> None:
    kind = type(data_set(name))
    monkeypatch.setattr(kind, "write_sample", lambda data_set, *arguments: write(*arguments))
    monkeypatch.setattr(kind, "sample_version", version)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sample_is_named_by_all_that_decides_it(cache_folder, name):
    folder = sample_dir(name, 3, 64, 5)
    assert (
        folder
        == cache_folder / "samples" / f"{name}-v{data_set(name).sample_version}-n3-px64-seed5"
    )
    assert [path for path in folder.rglob("*") if path.is_file()]


def test_sample_slides_keep_their_folder_name(cache_folder):
    assert sample_dir("panda", 1, 64, 0) == cache_folder / "samples" / "panda-v1-n1-px64-seed0"


def test_a_sample_is_made_once(monkeypatch):
    folder = sample_dir("aerial", 1, 64, 0)
    replace_writer(monkeypatch, "aerial", lambda *arguments: pytest.fail("made again"))
    assert sample_dir("aerial", 1, 64, 0) == folder


def test_a_new_version_of_one_data_set_makes_only_its_sample_again(monkeypatch):
    before = {name: sample_dir(name, 2, 64, 0) for name in SAMPLED}
    replace_writer(monkeypatch, "drive", data_set("drive").write_sample, version=99)
    after = {name: sample_dir(name, 2, 64, 0) for name in SAMPLED}
    assert after.pop("drive") != before.pop("drive")
    assert after == before


@pytest.mark.parametrize("name", sorted({*SAMPLED} - {"soda", "tju"}))  # as coco_mosaic
def test_processes_at_once_share_one_sample(cache_folder, name):
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(sample_dir, name, 12, 64, 0) for _ in range(3)]
        (folder,) = {job.result() for job in jobs}
    assert list((cache_folder / "samples").iterdir()) == [folder]


@pytest.mark.parametrize("name", SAMPLED)
def test_the_slower_process_uses_the_sample_of_the_faster(cache_folder, monkeypatch, name):
    write = data_set(name).write_sample
    target = cache_folder / "samples" / f"{name}-v1-n3-px64-seed0"

    def write_while_another_finishes(out, *numbers):
        write(out, *numbers)
        write(target, *numbers)
        (target / "first").touch()

    replace_writer(monkeypatch, name, write_while_another_finishes)
    assert sample_dir(name, 3, 64, 0) == target
    assert (target / "first").exists()
    assert list((cache_folder / "samples").iterdir()) == [target]


def test_a_sample_that_is_interrupted_leaves_nothing(cache_folder, monkeypatch):
    write = data_set("drive").write_sample

    def write_and_stop(out, *numbers):
        write(out, *numbers)
        raise KeyboardInterrupt

    replace_writer(monkeypatch, "drive", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        sample_dir("drive", 2, 64, 0)
    assert list((cache_folder / "samples").iterdir()) == []


@pytest.mark.parametrize("name", SAMPLED)
def test_numbers_out_of_range_are_errors(name):
    with pytest.raises(ConfigError, match="num_images=0"):
        sample_dir(name, 0, 64, 0)


def test_a_cache_that_cannot_be_written_is_an_error(cache_folder):
    cache_folder.write_text("a file in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        sample_dir("drive", 2, 64, 0)
