from pathlib import Path

import numpy as np
import pytest
from image_data import damage, error_of, grey_image, half_mask, real, trial, write

from patchtrain.datasets import class_names, load_all, load_dataset, num_classes
from patchtrain.datasets.targets.masks import IGNORED
from patchtrain.errors import ConfigError


def view() -> np.ndarray:
    inside = np.zeros((40, 60), np.uint8)
    inside[4:-4, 4:-4] = 255
    return inside


@pytest.fixture
def published(tmp_path) -> Path:
    """Return a folder in the published layout, of ten training and three test images."""
    for part, ending, numbers in (
        ("training", "training", range(21, 31)),
        ("test", "test", range(1, 4)),
    ):
        folder = tmp_path / "DRIVE" / part
        for number in numbers:
            write(folder / "images" / f"{number:02}_{ending}.tif", grey_image())
            write(folder / "1st_manual" / f"{number:02}_manual1.gif", half_mask())
            write(folder / "2nd_manual" / f"{number:02}_manual2.gif", half_mask(value=0))
            write(folder / "mask" / f"{number:02}_{ending}_mask.gif", view())
    return tmp_path / "DRIVE"


@pytest.fixture
def in_folders(tmp_path) -> Path:
    """Return images and masks by folder, of ten training and three test images."""
    for part, count in (("train", 10), ("test", 3)):
        for number in range(count):
            write(tmp_path / "Data" / part / "image" / f"{number}.png", grey_image())
            write(tmp_path / "Data" / part / "mask" / f"{number}.png", half_mask())
    return tmp_path / "Data"


def ids(examples) -> list[str]:
    return [example.image_id for example in examples]


def test_the_published_test_part_is_the_test_split_and_val_is_drawn_from_training(published):
    data = load_dataset(trial("drive", published))
    assert ids(data.test) == ["01_test", "02_test", "03_test"]
    assert sorted(ids(data.train + data.val)) == [f"{n}_training" for n in range(21, 31)]
    assert len(data.val) == 2
    assert data.class_names == ("background", "vessel")
    other = load_dataset(trial("drive", published, split_seed=5))
    assert other.test == data.test
    assert other.val != data.val


def test_vessels_are_learned_inside_the_field_of_view(published):
    (example, *_) = load_dataset(trial("drive", published)).train
    classes = example.target.read()
    assert np.all(classes[view() == 0] == IGNORED)
    assert np.array_equal(classes[view() > 0], half_mask(value=1)[view() > 0])


def test_without_field_of_view_all_pixels_count(published):
    for path in (published / "training" / "mask").iterdir():
        path.unlink()
    (published / "training" / "mask").rmdir()
    (example, *_) = load_dataset(trial("drive", published)).train
    assert np.array_equal(example.target.read(), half_mask(value=1))


def test_without_marked_vessels_there_is_no_test_split(published):
    (published / "test" / "1st_manual").rename(published / "test" / "hidden")
    data = load_dataset(trial("drive", published))
    assert data.test == ()
    assert len(load_all(trial("drive", published)).test) == 10
    drawn = load_dataset(trial("drive", published, test_fraction=0.3))
    assert (len(drawn.train), len(drawn.val), len(drawn.test)) == (5, 2, 3)


@pytest.mark.parametrize("layout", ["published", "in_folders"])
def test_a_test_fraction_is_refused_where_there_is_a_test_part(request, layout):
    folder = request.getfixturevalue(layout)
    with pytest.raises(ConfigError, match=r"test_fraction=0\.2: .* has its own test images; leave"):
        load_dataset(trial("drive", folder, test_fraction=0.2))


def test_a_split_file_may_put_any_image_anywhere(published, tmp_path):
    split = tmp_path / "split.csv"
    split.write_text("image_id,split\n01_test,train\n21_training,test\n22_training,val\n")
    data = load_dataset(trial("drive", published, split_file=str(split), test_fraction=0.1))
    assert (ids(data.train), ids(data.val)) == (["01_test"], ["22_training"])
    assert ids(data.test) == ["21_training"]


def test_folders_of_images_and_masks_are_read_too(in_folders):
    data = load_dataset(trial("drive", in_folders))
    assert ids(data.test) == ["test_0", "test_1", "test_2"]
    assert set(ids(data.train + data.val)) == {f"train_{number}" for number in range(10)}
    assert np.array_equal(data.train[0].target.read(), half_mask(value=1))


@pytest.mark.parametrize("layout", ["published", "in_folders"])
def test_the_layout_may_lie_in_a_folder(request, layout):
    folder = request.getfixturevalue(layout)
    (folder.parent / ".hidden").mkdir()
    inner = load_dataset(trial("drive", folder))
    outer = load_dataset(trial("drive", folder.parent))
    assert outer.train == inner.train
    assert outer.data_dir == folder.parent


def test_two_layouts_side_by_side_are_an_error(published, in_folders):
    message = error_of(trial("drive", published.parent))
    assert "holds several data sets (DRIVE, Data); give one as data_dir" in message


def test_another_layout_is_an_error_that_tells_the_layout(tmp_path):
    (tmp_path / "x").mkdir()
    message = error_of(trial("drive", tmp_path))
    assert "has another layout; expected DRIVE's training/images" in message
    assert "is not a folder" in error_of(trial("drive", tmp_path / "none"))


def test_missing_vessels_are_an_error_or_skipped(published):
    (published / "training" / "1st_manual" / "23_manual1.gif").unlink()
    message = error_of(trial("drive", published))
    assert message.startswith(f"{published / 'training/images/23_training.tif'}: has no mask in ")
    assert "1 of 13 images cannot be used" in message
    data = load_dataset(trial("drive", published, skip_bad_images=True))
    assert data.num_skipped == 1
    assert len(data.train + data.val) == 9


def test_a_missing_field_of_view_is_an_error(published):
    (published / "training" / "mask" / "23_training_mask.gif").unlink()
    assert "has no field of view in " in error_of(trial("drive", published))


def test_vessels_without_image_are_an_error(published):
    (published / "test" / "images" / "02_test.tif").unlink()
    message = error_of(trial("drive", published))
    assert message.startswith(f"{published / 'test/1st_manual/02_manual1.gif'}: has no image in ")


@pytest.mark.parametrize("folder", ["images", "1st_manual", "mask"])
@pytest.mark.parametrize("kind", ["truncated", "text", "zero_bytes", "folder"])
def test_damaged_files_are_errors_that_name_them(published, folder, kind):
    path = sorted((published / "training" / folder).iterdir())[2]
    damage(kind, path)
    assert error_of(trial("drive", published)).startswith(f"{path}: ")


def test_classes_are_known_without_data():
    config = trial("drive", Path("nowhere"))
    assert class_names(config) == ("background", "vessel")
    assert num_classes(config) == 2


def test_the_real_data_is_read_as_its_description_says():
    data = load_dataset(trial("drive", real("drive")))
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 20)
    assert ids(data.test)[:2] == ["01_test", "02_test"]
    assert sorted(ids(data.train + data.val)) == [f"{n}_training" for n in range(21, 41)]
    for examples, vessel_share in ((data.train + data.val, 0.125), (data.test, 0.127)):
        masks = np.stack([example.target.read() for example in examples])
        assert masks.shape[1:] == (584, 565)
        inside = masks != IGNORED
        assert 0.65 < inside.mean() < 0.72
        assert abs(masks[inside].mean() - vessel_share) < 0.001
