import csv
import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchtrain.cli import main
from patchtrain.datasets import data_set, sampled_names
from patchtrain.datasets.aerial import COLOURS
from patchtrain.datasets.samples.scenes import SCENE_CLASSES, draw_scene
from patchtrain.datasets.samples.vessels import draw_retina
from patchtrain.errors import ConfigError
from patchtrain.images import open_image

SAMPLED = sampled_names()

write_panda, write_drive, write_aerial = (
    data_set(name).write_sample for name in ("panda", "drive", "aerial")
)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def classes_of(mask: np.ndarray) -> np.ndarray:
    """Return positions in `SCENE_CLASSES` for a mask's colours, which must all be known."""
    known = np.array([COLOURS[name] for name in SCENE_CLASSES])
    equal = (mask[..., None, :] == known).all(axis=-1)
    assert equal.any(axis=-1).all()
    return equal.argmax(axis=-1)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_panda_sample_has_the_published_layout(tmp_path):
    write_panda(tmp_path / "out", num_images=13, image_size=64, seed=0)
    rows = rows_of(tmp_path / "out")
    assert list(rows[0]) == ["image_id", "data_provider", "isup_grade", "gleason_score"]
    assert sorted(np.bincount([int(row["isup_grade"]) for row in rows])) == [2, 2, 2, 2, 2, 3]
    images = {path.name for path in (tmp_path / "out" / "train_images").iterdir()}
    assert images == {row["image_id"] + ".tiff" for row in rows}
    assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)
    assert {row["data_provider"] for row in rows} == {"karolinska", "radboud"}
    assert all(len(row["image_id"]) == 32 for row in rows)


def test_gleason_scores_agree_with_grades(tmp_path):
    write_panda(tmp_path / "out", num_images=60, image_size=64, seed=1)
    grade_of = {
        "0+0": 0, "negative": 0, "3+3": 1, "3+4": 2, "4+3": 3, "4+4": 4, "3+5": 4, "5+3": 4,
        "4+5": 5, "5+4": 5, "5+5": 5,
    }  # fmt: skip
    for row in rows_of(tmp_path / "out"):
        assert grade_of[row["gleason_score"]] == int(row["isup_grade"])
        assert (row["gleason_score"] == "negative") <= (row["data_provider"] == "radboud")


def test_slides_are_tiled_pyramids_to_openslide(tmp_path):
    openslide = pytest.importorskip("openslide")
    write_panda(tmp_path / "out", num_images=1, image_size=600, seed=0)
    (path,) = (tmp_path / "out" / "train_images").iterdir()
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((600, 600), (300, 300), (150, 150))
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        theirs = np.asarray(slide.read_region((0, 0), 0, (600, 600)).convert("RGB"))
    with open_image(path) as source:
        assert source.level_sizes == [(600, 600), (300, 300), (150, 150)]
        ours = source.read((0, 0, 600, 600))
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def test_drive_sample_has_the_published_layout(tmp_path):
    write_drive(tmp_path / "out", num_images=5, image_size=64, seed=0)
    assert names_in(tmp_path / "out") == ["test", "training"]
    for part, numbers in (("test", ["01", "02"]), ("training", ["03", "04", "05"])):
        folder = tmp_path / "out" / part
        assert names_in(folder) == ["1st_manual", "images", "mask"]
        assert names_in(folder / "images") == [f"{n}_{part}.tif" for n in numbers]
        assert names_in(folder / "1st_manual") == [f"{n}_manual1.gif" for n in numbers]
        assert names_in(folder / "mask") == [f"{n}_{part}_mask.gif" for n in numbers]


def test_40_drive_images_are_numbered_as_published(tmp_path, monkeypatch):
    monkeypatch.setattr("patchtrain.datasets.samples.drive._write_photograph", touch_photograph)
    write_drive(tmp_path / "out", num_images=40, image_size=64, seed=0)
    assert names_in(tmp_path / "out" / "test" / "images") == [f"{n:02d}" for n in range(1, 21)]
    assert names_in(tmp_path / "out" / "training" / "images") == [str(n) for n in range(21, 41)]


def test_more_than_99_drive_images_are_numbered_on(tmp_path, monkeypatch):
    monkeypatch.setattr("patchtrain.datasets.samples.drive._write_photograph", touch_photograph)
    write_drive(tmp_path / "out", num_images=201, image_size=64, seed=0)
    numbers = {int(name) for name in names_in(tmp_path / "out" / "training" / "images")}
    assert numbers == set(range(101, 202))


def touch_photograph(folder, photograph, image_size, seed):
    (folder / photograph.part / "images" / f"{photograph.number:02d}").touch()


def test_drive_files_hold_what_was_drawn(tmp_path):
    write_drive(tmp_path / "out", num_images=2, image_size=96, seed=4)
    retina = draw_retina(np.random.default_rng([4, 1, 0]), 96)
    folder = tmp_path / "out" / "training"
    for path, drawn in (
        (folder / "1st_manual" / "02_manual1.gif", retina.vessels),
        (folder / "mask" / "02_training_mask.gif", retina.field_of_view),
    ):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image.convert("L")), 255 * drawn)
    with open_image(folder / "images" / "02_training.tif") as source:
        assert np.array_equal(source.read((0, 0, 96, 96)), retina.image)


def test_aerial_sample_has_the_published_layout(tmp_path):
    write_aerial(tmp_path / "out", num_images=11, image_size=64, seed=0)
    assert names_in(tmp_path / "out") == ["Tile 1", "Tile 2"]
    for tile, num_parts in (("Tile 1", 9), ("Tile 2", 2)):
        folder = tmp_path / "out" / tile
        parts = [f"image_part_{part:03d}" for part in range(1, num_parts + 1)]
        assert names_in(folder) == ["images", "masks"]
        assert names_in(folder / "images") == [f"{part}.jpg" for part in parts]
        assert names_in(folder / "masks") == [f"{part}.png" for part in parts]


def test_aerial_tiles_are_not_square_and_masks_have_the_size_of_images(tmp_path):
    write_aerial(tmp_path / "out", num_images=28, image_size=100, seed=0)
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for path in (tmp_path / "out").glob("*/images/*.jpg"):
        mask = path.parents[1] / "masks" / f"{path.stem}.png"
        shapes.setdefault(path.parents[1].name, set()).add(pixels_of(path).shape)
        assert pixels_of(mask).shape == pixels_of(path).shape
    assert all(len(of_tile) == 1 for of_tile in shapes.values())
    sizes = [next(iter(of_tile))[:2] for of_tile in shapes.values()]
    assert all(max(size) == 100 and 80 <= min(size) <= 98 for size in sizes)
    assert len(set(sizes)) > 2


def test_aerial_files_hold_what_was_drawn(tmp_path):
    write_aerial(tmp_path / "out", num_images=12, image_size=128, seed=4)
    for tile, part in ((1, 1), (1, 9), (2, 3)):
        folder, name = tmp_path / "out" / f"Tile {tile}", f"image_part_{part:03d}"
        image = pixels_of(folder / "images" / f"{name}.jpg")
        rng = np.random.default_rng([4, tile - 1, part])
        scene = draw_scene(rng, image.shape[1], image.shape[0])
        mask = pixels_of(folder / "masks" / f"{name}.png")
        assert np.array_equal(classes_of(mask), scene.classes)
        assert np.abs(image.astype(int) - scene.image).mean() < 6, "more than JPEG loses"


def test_mask_colours_are_the_published_ones():
    published = ["3C1098", "8429F6", "6EC1E4", "FEDD3A", "E2A929", "9B9B9B"]
    assert [bytes(colour).hex().upper() for colour in COLOURS.values()] == published
    assert tuple(COLOURS) == SCENE_CLASSES


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_repeat_and_differ_by_seed(tmp_path, name):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        data_set(name).write_sample(tmp_path / folder, 3, 64, seed)
    first, again, other = (bytes_of(tmp_path / folder) for folder in "abc")
    assert first == again
    pictures = {content for path, content in first.items() if not path.endswith((".csv", ".json"))}
    assert not pictures & set(other.values())


@pytest.mark.parametrize("name", SAMPLED)
def test_the_command_writes_the_sample_of_every_data_set(tmp_path, name, capsys):
    numbers = ["--num-images", "2", "--image-size", "64", "--seed", "7"]
    assert main(["sample-data", name, str(tmp_path / "command"), *numbers]) == 0
    assert "2 generated images (not real data)" in capsys.readouterr().out
    data_set(name).write_sample(tmp_path / "function", 2, 64, 7)
    assert bytes_of(tmp_path / "command") == bytes_of(tmp_path / "function")


@pytest.mark.parametrize("name", SAMPLED)
def test_images_of_a_sample_differ(tmp_path, name):
    data_set(name).write_sample(tmp_path / "out", 12, 64, 0)
    files = list(bytes_of(tmp_path / "out").values())
    assert len(set(files)) == len(files)


def test_a_larger_panda_sample_holds_the_smaller_one(tmp_path):
    write_panda(tmp_path / "small", num_images=3, image_size=64, seed=0)
    write_panda(tmp_path / "large", num_images=7, image_size=64, seed=0)
    small, large = bytes_of(tmp_path / "small"), bytes_of(tmp_path / "large")
    assert all(large[name] == content for name, content in small.items() if name != "train.csv")
    assert [r for r in rows_of(tmp_path / "large") if r in rows_of(tmp_path / "small")] == rows_of(
        tmp_path / "small"
    )


def test_a_larger_drive_sample_begins_with_the_smaller_one(tmp_path):
    write_drive(tmp_path / "small", num_images=3, image_size=64, seed=0)
    write_drive(tmp_path / "large", num_images=8, image_size=64, seed=0)
    for part, kept in (("test", 1), ("training", 2)):
        for kind in ("images", "1st_manual", "mask"):
            small, large = (
                [content for _, content in sorted(bytes_of(tmp_path / name / part / kind).items())]
                for name in ("small", "large")
            )
            assert (len(small), len(large)) == (kept, 4)
            assert large[:kept] == small


def test_a_larger_aerial_sample_holds_the_smaller_one(tmp_path):
    write_aerial(tmp_path / "small", num_images=3, image_size=64, seed=0)
    write_aerial(tmp_path / "large", num_images=10, image_size=64, seed=0)
    assert bytes_of(tmp_path / "small").items() <= bytes_of(tmp_path / "large").items()


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize(
    "numbers, message",
    [
        ({"num_images": 0}, "num_images=0 must be at least"),
        ({"image_size": 63}, "image_size=63 is too small .* at least 64"),
        ({"seed": -1}, "seed=-1 must not be negative"),
    ],
)
def test_numbers_out_of_range_are_errors_and_leave_nothing(tmp_path, name, numbers, message):
    arguments = {"num_images": 2, "image_size": 64, "seed": 0} | numbers
    with pytest.raises(ConfigError, match=message):
        data_set(name).write_sample(tmp_path / "out", *arguments.values())
    assert list(tmp_path.iterdir()) == []


def test_a_single_drive_image_cannot_be_halved(tmp_path):
    with pytest.raises(ConfigError, match="num_images=1 must be at least 2, one for training and"):
        write_drive(tmp_path / "out", 1, 64, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SAMPLED)
def test_a_folder_with_files_is_an_error_and_is_kept(tmp_path, name):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="holds files already"):
        data_set(name).write_sample(tmp_path, 2, 64, 0)
    assert names_in(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("name", SAMPLED)
def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path, name):
    (tmp_path / "empty").mkdir()
    data_set(name).write_sample(tmp_path / "empty", 2, 64, 0)
    data_set(name).write_sample(tmp_path / "new" / "deep", 2, 64, 0)
    assert bytes_of(tmp_path / "empty") == bytes_of(tmp_path / "new" / "deep")
    assert names_in(tmp_path) == ["empty", "new"]


@pytest.mark.parametrize(
    "name, drawing", [("panda", "render_slide"), ("drive", "draw_retina"), ("aerial", "draw_scene")]
)
@pytest.mark.parametrize("reason", [KeyboardInterrupt, MemoryError])
def test_a_sample_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch, name, drawing, reason):
    writer = importlib.import_module(f"patchtrain.datasets.samples.{name}")
    draw, drawn = getattr(writer, drawing), []

    def draw_two_then_stop(*arguments):
        if len(drawn) >= 2:
            raise reason
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(writer, drawing, draw_two_then_stop)
    with pytest.raises(reason):
        data_set(name).write_sample(tmp_path / "out", 6, 64, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path, name, out):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"out=.*cannot be written \(.+\); choose"):
        data_set(name).write_sample(tmp_path / out, 2, 64, 0)
    assert names_in(tmp_path) == ["file"]
