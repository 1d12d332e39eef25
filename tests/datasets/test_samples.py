import csv
from pathlib import Path

import numpy as np
import pytest

from patchtrain.datasets.samples import write_panda_sample
from patchtrain.errors import ConfigError
from patchtrain.images import open_image


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_sample_has_the_published_layout(tmp_path):
    write_panda_sample(tmp_path / "out", num_images=13, image_size=64, seed=0)
    rows = rows_of(tmp_path / "out")
    assert list(rows[0]) == ["image_id", "data_provider", "isup_grade", "gleason_score"]
    assert sorted(np.bincount([int(row["isup_grade"]) for row in rows])) == [2, 2, 2, 2, 2, 3]
    images = {path.name for path in (tmp_path / "out" / "train_images").iterdir()}
    assert images == {row["image_id"] + ".tiff" for row in rows}
    assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)
    assert {row["data_provider"] for row in rows} == {"karolinska", "radboud"}
    assert all(len(row["image_id"]) == 32 for row in rows)


def test_gleason_scores_agree_with_grades(tmp_path):
    write_panda_sample(tmp_path / "out", num_images=60, image_size=64, seed=1)
    grade_of = {
        "0+0": 0, "negative": 0, "3+3": 1, "3+4": 2, "4+3": 3, "4+4": 4, "3+5": 4, "5+3": 4,
        "4+5": 5, "5+4": 5, "5+5": 5,
    }  # fmt: skip
    for row in rows_of(tmp_path / "out"):
        assert grade_of[row["gleason_score"]] == int(row["isup_grade"])
        assert (row["gleason_score"] == "negative") <= (row["data_provider"] == "radboud")


def test_slides_are_tiled_pyramids_to_openslide(tmp_path):
    openslide = pytest.importorskip("openslide")
    write_panda_sample(tmp_path / "out", num_images=1, image_size=600, seed=0)
    (path,) = (tmp_path / "out" / "train_images").iterdir()
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((600, 600), (300, 300), (150, 150))
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        theirs = np.asarray(slide.read_region((0, 0), 0, (600, 600)).convert("RGB"))
    with open_image(path) as source:
        assert source.level_sizes == [(600, 600), (300, 300), (150, 150)]
        ours = source.read((0, 0, 600, 600))
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def test_sample_repeats_and_differs_by_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_panda_sample(tmp_path / name, num_images=3, image_size=64, seed=seed)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert set(bytes_of(tmp_path / "a")) & set(bytes_of(tmp_path / "c")) == {"train.csv"}


def test_a_larger_sample_holds_the_smaller_one(tmp_path):
    write_panda_sample(tmp_path / "small", num_images=3, image_size=64, seed=0)
    write_panda_sample(tmp_path / "large", num_images=7, image_size=64, seed=0)
    small, large = bytes_of(tmp_path / "small"), bytes_of(tmp_path / "large")
    assert all(large[name] == content for name, content in small.items() if name != "train.csv")
    assert [r for r in rows_of(tmp_path / "large") if r in rows_of(tmp_path / "small")] == rows_of(
        tmp_path / "small"
    )


@pytest.mark.parametrize(
    "numbers, message",
    [
        ({"num_images": 0}, "num_images=0 must be at least 1"),
        ({"image_size": 63}, "image_size=63 is too small .* at least 64"),
        ({"seed": -1}, "seed=-1 must not be negative"),
    ],
)
def test_numbers_out_of_range_are_errors_and_leave_nothing(tmp_path, numbers, message):
    arguments = {"num_images": 1, "image_size": 64, "seed": 0} | numbers
    with pytest.raises(ConfigError, match=message):
        write_panda_sample(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_an_error_and_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="holds files already"):
        write_panda_sample(tmp_path, 1, 64, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    write_panda_sample(tmp_path / "empty", 1, 64, 0)
    write_panda_sample(tmp_path / "new" / "deep", 1, 64, 0)
    assert bytes_of(tmp_path / "empty") == bytes_of(tmp_path / "new" / "deep")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path, out):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"out=.*cannot be written \(.+\); choose"):
        write_panda_sample(tmp_path / out, 1, 64, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
