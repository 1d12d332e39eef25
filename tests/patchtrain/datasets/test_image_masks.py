import os
from pathlib import Path

import numpy as np
import pytest
from image_data import damage, error_of, grey_image, half_mask, trial, write
from PIL import Image

from patchtrain.config import TrialConfig
from patchtrain.datasets import (
    Augmentation,
    ImageDataset,
    class_names,
    load_all,
    load_dataset,
    num_classes,
)
from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.errors import ConfigError

NAMES = [f"im {number}" for number in range(10)]


def write_pairs(folder: Path, names=NAMES, mask=None) -> Path:
    for name in names:
        write(folder / "images" / f"{name}.jpg", grey_image())
        write(folder / "masks" / f"{name}.png", half_mask() if mask is None else mask)
    return folder


@pytest.fixture
def data_dir(tmp_path) -> Path:
    return write_pairs(tmp_path / "data set")


def config(data_dir: Path, **settings) -> TrialConfig:
    return trial("image_masks", data_dir, **settings)


def ids(examples) -> list[str]:
    return [example.image_id for example in examples]


def test_images_and_masks_pair_by_name_and_are_split(data_dir):
    data = load_dataset(config(data_dir, test_fraction=0.3))
    assert (len(data.train), len(data.val), len(data.test)) == (5, 2, 3)
    assert sorted(ids(data.train + data.val + data.test)) == NAMES
    assert (data.class_names, data.is_sample) == (("background", "foreground"), False)
    assert np.array_equal(data.train[0].target.read(), half_mask(value=1))


def test_items_are_images_with_masks_and_index(data_dir):
    data = load_dataset(config(data_dir))
    items = ImageDataset(data.train, 64)
    image, target, index = items[3]
    assert (image.shape, target.shape, index) == ((64, 64, 3), (64, 64), 3)
    assert image.dtype == target.dtype == np.uint8
    changed = ImageDataset(data.train, 64, Augmentation(("flip", "rotate", "colour"), 0))[3]
    assert not np.array_equal(changed[1], target)


def test_folders_of_splits_are_the_splits(tmp_path):
    for part, names in (("train", NAMES), ("val", ["im 0", "b"]), ("test", ["im 0"])):
        write_pairs(tmp_path / part, names)
    data = load_dataset(config(tmp_path))
    assert ids(data.train) == [f"train_{name}" for name in NAMES]
    assert ids(data.val) == ["val_b", "val_im 0"]
    assert ids(data.test) == ["test_im 0"]
    assert len(load_all(config(tmp_path)).test) == 13


def test_what_has_no_folder_is_drawn_from_train(tmp_path):
    write_pairs(tmp_path / "train")
    data = load_dataset(config(tmp_path, test_fraction=0.1))
    assert (len(data.train), len(data.val), len(data.test)) == (7, 2, 1)
    write_pairs(tmp_path / "test", ["x", "y"])
    data = load_dataset(config(tmp_path))
    assert (len(data.train), len(data.val), ids(data.test)) == (8, 2, ["test_x", "test_y"])
    with pytest.raises(ConfigError, match="has its own test images"):
        load_dataset(config(tmp_path, test_fraction=0.1))


def test_a_folder_of_val_alone_is_not_enough(tmp_path):
    write_pairs(tmp_path / "val")
    assert "no images in train (images: train 0, val 10, test 0)" in error_of(config(tmp_path))


def test_a_folder_of_another_name_beside_the_splits_is_not_left_out_silently(tmp_path):
    write_pairs(tmp_path / "train")
    write_pairs(tmp_path / "valid", ["x", "y"])
    assert (
        "valid: has images/ and masks/, but is not one of the splits train, val, test"
        in error_of(config(tmp_path))
    )
    (tmp_path / "valid").rename(tmp_path / "val")
    assert ids(load_dataset(config(tmp_path)).val) == ["val_x", "val_y"]


def test_test_images_without_masks_are_none(tmp_path):
    write_pairs(tmp_path / "train")
    write(tmp_path / "test" / "images" / "x.png", grey_image())
    assert load_dataset(config(tmp_path)).test == ()
    data = load_dataset(config(tmp_path, test_fraction=0.1))
    assert (len(data.train), len(data.val), len(data.test)) == (7, 2, 1)


def test_both_layouts_at_once_are_an_error(data_dir):
    write_pairs(data_dir / "train")
    assert "has both images/ and train/images/" in error_of(config(data_dir))


def test_more_classes_are_numbers(data_dir):
    write_pairs(data_dir, mask=half_mask(value=4))
    trial_config = config(data_dir, num_classes=5)
    data = load_dataset(trial_config)
    assert np.array_equal(data.train[0].target.read(), half_mask(value=4))
    assert data.class_names == class_names(trial_config)
    assert data.class_names[4] == "class 4"
    assert num_classes(trial_config) == 5


def test_a_class_that_is_too_high_is_an_error_even_after_it_was_none(data_dir):
    write_pairs(data_dir, mask=half_mask(value=4))
    load_dataset(config(data_dir, num_classes=5))
    message = error_of(config(data_dir, num_classes=4))
    assert "has class 4, more than num_classes=4" in message
    assert "10 of 10 images cannot be used" in message


def write_classes(data_dir: Path, text: str) -> Path:
    (data_dir / "classes.csv").write_text(text)
    return data_dir / "classes.csv"


def test_a_table_of_colours_says_what_the_masks_mean(data_dir):
    pixels = np.full((40, 60, 3), (255, 0, 0), np.uint8)
    pixels[:, 20:] = (0, 255, 0)
    pixels[:, 40:] = (1, 1, 1)
    write_pairs(data_dir, mask=pixels)
    write_classes(data_dir, "name,color\nroof,#FF0000\n Void ,010101\ntree,#00ff00\n")
    data = load_dataset(config(data_dir))
    assert data.class_names == ("roof", "tree")
    assert data.train[0].target.read()[0, 10::20].tolist() == [0, 1, IGNORED]


@pytest.mark.parametrize(
    "rows, message",
    [
        (
            "a,#000000\nb,#FFFFFF\nc,#FF0000",
            "lists 3 classes, but num_classes=2; set num_classes=3",
        ),
        ("a,#000000", "lists 1 classes, but num_classes=2; list at least two"),
        ("a,#000000\nb,red", "line 3: color 'red' is not a color; write it as #RRGGBB"),
        ("a,#000000\nb,#000000", "line 3: color '#000000' is listed twice"),
        ("a,#000000\na,#FFFFFF", "line 3: name 'a' is empty or listed twice"),
        (",#000000\na,#FFFFFF", "line 2: name '' is empty or listed twice"),
        ("", "has a header but no rows"),
    ],
)
def test_bad_tables_of_colours_are_errors(data_dir, rows, message):
    path = write_classes(data_dir, f"name,color\n{rows}\n")
    text = error_of(config(data_dir))
    assert text.startswith(str(path))
    assert message in text


def test_without_data_dir_there_is_nothing_to_train_on():
    with pytest.raises(ConfigError, match=r"data_dir is not set: .* set data_dir to a folder with"):
        load_dataset(TrialConfig.from_mapping({"dataset": "image_masks"}))


def test_images_without_mask_are_errors_or_skipped(data_dir):
    for name in ("im 3", "im 5"):
        (data_dir / "masks" / f"{name}.png").unlink()
    message = error_of(config(data_dir))
    assert message.startswith(f"{data_dir / 'images' / 'im 3.jpg'}: has no mask in {data_dir}")
    assert "2 of 10 images cannot be used" in message
    assert load_dataset(config(data_dir, skip_bad_images=True)).num_skipped == 2


def test_masks_without_image_are_errors_or_skipped(data_dir):
    (data_dir / "images" / "im 3.jpg").unlink()
    message = error_of(config(data_dir))
    assert message.startswith(f"{data_dir / 'masks' / 'im 3.png'}: has no image in {data_dir}")
    data = load_dataset(config(data_dir, skip_bad_images=True))
    assert (data.num_skipped, len(data.train + data.val)) == (1, 9)


def test_hidden_files_other_files_and_folders_are_passed_over(data_dir):
    before = load_dataset(config(data_dir))
    for folder in (data_dir / "images", data_dir / "masks"):
        (folder / ".DS_Store").write_bytes(b"\0")
        (folder / "._im 1.jpg").write_bytes(b"\0")
        (folder / "notes.txt").write_text("hello")
        (folder / "old").mkdir()
        (folder / ".cache").mkdir()
    assert load_dataset(config(data_dir)) == before


def test_suffixes_may_be_in_upper_case_and_of_any_kind(data_dir):
    (data_dir / "images" / "im 1.jpg").rename(data_dir / "images" / "im 1.JPG")
    (data_dir / "masks" / "im 1.png").unlink()
    write(data_dir / "masks" / "im 1.TIF", half_mask())
    write(data_dir / "images" / "æøå 日本.Bmp", grey_image())
    write(data_dir / "masks" / "æøå 日本.gif", half_mask())
    data = load_dataset(config(data_dir))
    assert len(data.train + data.val) == 11
    assert "æøå 日本" in ids(data.train + data.val)


def test_two_images_of_one_name_are_an_error(data_dir):
    write(data_dir / "images" / "im 3.png", grey_image())
    message = error_of(config(data_dir))
    assert f"{data_dir / 'images'}: 'im 3.jpg' and 'im 3.png' both stand for 'im 3'" in message


@pytest.mark.parametrize("name", [" a", "a\nb", "x" * 201, "\udcff"])
def test_names_that_cannot_be_ids_are_errors(data_dir, name):
    write(data_dir / "images" / f"{name}.png", grey_image())
    assert "rename the file" in error_of(config(data_dir))


@pytest.mark.parametrize("missing", ["images", "masks"])
def test_a_missing_folder_is_an_error_that_tells_the_layout(data_dir, missing):
    (data_dir / missing).rename(data_dir / "elsewhere")
    message = error_of(config(data_dir))
    assert message.startswith(f"{data_dir / missing}: does not exist; expected images/ and")


def test_folders_that_are_files_or_empty_are_errors(data_dir, tmp_path):
    (data_dir / "masks").rename(data_dir / "elsewhere")
    (data_dir / "masks").write_text("")
    assert f"{data_dir / 'masks'}: cannot be read" in error_of(config(data_dir))
    (tmp_path / "b" / "images").mkdir(parents=True)
    (tmp_path / "b" / "masks").mkdir()
    assert "holds no images" in error_of(config(tmp_path / "b"))
    assert "is not a folder" in error_of(config(tmp_path / "none"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(data_dir):
    (data_dir / "masks").chmod(0)
    try:
        assert "cannot be read (Permission denied)" in error_of(config(data_dir))
    finally:
        (data_dir / "masks").chmod(0o755)


@pytest.mark.parametrize("folder, name", [("images", "im 4.jpg"), ("masks", "im 4.png")])
@pytest.mark.parametrize("kind", ["truncated", "text", "zero_bytes", "folder"])
def test_damaged_files_are_errors_or_skipped(data_dir, folder, name, kind):
    path = data_dir / folder / name
    write(path, np.random.default_rng(0).integers(0, 2, (40, 60), np.uint8) * np.uint8(255))
    damage(kind, path)
    message = error_of(config(data_dir))
    assert message.startswith(f"{path}: ")
    assert "1 of 10 images cannot be used" in message
    assert load_dataset(config(data_dir, skip_bad_images=True)).num_skipped == 1


def test_a_mask_of_another_size_is_an_error_that_names_both(data_dir):
    mask = write(data_dir / "masks" / "im 4.png", half_mask(60, 40))
    image = data_dir / "images" / "im 4.jpg"
    assert f"{mask}: is 60 x 40 px, but {image} is 40 x 60 px" in error_of(config(data_dir))


def test_masks_of_all_background_are_fine(data_dir):
    write_pairs(data_dir, mask=half_mask(value=0))
    assert load_dataset(config(data_dir)).num_skipped == 0


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "LA", "L", "1", "P", "CMYK"])
def test_images_of_every_mode_are_read(data_dir, mode):
    path = data_dir / "images" / "im 4.jpg"
    path.unlink()
    picture = Image.fromarray(half_mask())
    if mode == "I;16":
        picture = Image.fromarray(half_mask().astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    picture.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    data = load_dataset(config(data_dir))
    (example,) = [e for e in data.train + data.val if e.image_id == "im 4"]
    image, target, *_ = example.read(64)
    inside = target != IGNORED
    assert np.array_equal(image[inside, 0] > 127, target[inside] == 1)
