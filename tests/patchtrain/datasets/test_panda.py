import csv
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from image_data import damage, error_of
from PIL import Image
from torch.utils.data import DataLoader

from patchtrain.config import TrialConfig
from patchtrain.datasets import ImageDataset, data_set, load_all, load_dataset
from patchtrain.errors import DataError

HEADER = ["image_id", "data_provider", "isup_grade", "gleason_score"]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("panda") / "data"
    data_set("panda").write_sample(folder, num_images=18, image_size=128, seed=0)
    return folder


@pytest.fixture
def data_dir(pristine, tmp_path) -> Path:
    shutil.copytree(pristine, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PATCHTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config(data_dir: Path, **settings) -> TrialConfig:
    sizes = {"image_size": 64, "patch_size": 32}
    return TrialConfig(data_dir=str(data_dir), **(sizes | settings))


def image_ids(data_dir: Path) -> list[str]:
    with (data_dir / "train.csv").open(newline="", encoding="utf-8") as file:
        return [row["image_id"] for row in csv.DictReader(file)]


def image_path(data_dir: Path, number: int) -> Path:
    return data_dir / "train_images" / f"{image_ids(data_dir)[number]}.tiff"


def write_rows(data_dir: Path, rows: list[list[str]], header=HEADER, **options) -> None:
    options = {"encoding": "utf-8"} | options
    with (data_dir / "train.csv").open("w", newline="", **options) as file:
        csv.writer(file).writerows([header, *rows])


def test_data_is_split_by_grade(data_dir):
    data = load_dataset(config(data_dir, val_fraction=1 / 3))
    assert [e.target for e in data.val].count(0) == 1
    assert sorted(np.bincount([e.target for e in data.train])) == [2] * 6
    assert sorted(np.bincount([e.target for e in data.val])) == [1] * 6
    assert data.test == ()
    assert data.class_names == ("ISUP 0", "ISUP 1", "ISUP 2", "ISUP 3", "ISUP 4", "ISUP 5")
    assert (data.is_sample, data.num_skipped, data.data_dir) == (False, 0, data_dir)
    assert {e.image_id for e in data.train + data.val} == set(image_ids(data_dir))


def test_order_of_rows_does_not_matter(data_dir):
    before = load_dataset(config(data_dir))
    lines = (data_dir / "train.csv").read_text().splitlines()
    (data_dir / "train.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    assert load_dataset(config(data_dir)) == before


def test_items_are_images_with_target_and_index(data_dir):
    data = load_dataset(config(data_dir))
    items = ImageDataset(data.train, 64)
    image, target, index = items[2]
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert (target, index) == (data.train[2].target, 2)
    assert len(items) == len(data.train)


def test_loader_processes_read_the_same_items(data_dir):
    items = ImageDataset(load_all(config(data_dir)).test[:4], 64)
    loader = DataLoader(items, batch_size=None, num_workers=1)
    for (image, target, index), (expected, *rest) in zip(loader, items, strict=False):
        assert np.array_equal(image, expected)
        assert [target, index] == rest


def test_item_that_vanished_is_an_error_that_names_it(data_dir):
    items = ImageDataset(load_all(config(data_dir)).test, 64)
    items.examples[0].path.unlink()
    with pytest.raises(DataError, match=items.examples[0].image_id):
        items[0]


def test_load_all_gives_every_image_whatever_the_split(data_dir, tmp_path):
    (tmp_path / "split.csv").write_text("image_id,split\n")
    examples = load_all(config(data_dir, split_file=str(tmp_path / "split.csv"))).test
    assert [e.image_id for e in examples] == sorted(image_ids(data_dir))


def test_split_file_decides_and_unlisted_images_are_unused(data_dir, tmp_path):
    ids = image_ids(data_dir)
    image_path(data_dir, 5).unlink()
    lines = [f"{ids[0]},train", f"{ids[1]},val", f"{ids[2]},test", f"{ids[3]},train"]
    (tmp_path / "split.csv").write_text("\n".join(["image_id,split", *lines]))
    data = load_dataset(config(data_dir, split_file=str(tmp_path / "split.csv")))
    assert [e.image_id for e in data.train] == sorted([ids[0], ids[3]])
    assert [e.image_id for e in data.val] == [ids[1]]
    assert [e.image_id for e in data.test] == [ids[2]]


def test_split_file_without_val_is_an_error(data_dir, tmp_path):
    (tmp_path / "split.csv").write_text(f"image_id,split\n{image_ids(data_dir)[0]},train\n")
    message = error_of(config(data_dir, split_file=str(tmp_path / "split.csv")))
    assert "no images in val (images: train 1, val 0, test 0)" in message


def test_too_few_images_for_a_split_are_an_error(data_dir):
    first_of_each = {}
    with (data_dir / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            first_of_each[row["isup_grade"]] = list(row.values())
    write_rows(data_dir, list(first_of_each.values()))
    assert "no images in val (images: train 6, val 0, test 0)" in error_of(config(data_dir))


def test_only_two_columns_are_needed(data_dir):
    write_rows(data_dir, [[i, "3"] for i in image_ids(data_dir)], header=["image_id", "isup_grade"])
    assert {e.target for e in load_all(config(data_dir)).test} == {3}


def test_png_and_jpg_are_accepted_where_there_is_no_tiff(data_dir):
    tiff = image_path(data_dir, 0)
    Image.fromarray(np.full((90, 90, 3), 9, np.uint8)).save(tiff.with_suffix(".png"))
    assert tiff in [e.path for e in load_all(config(data_dir)).test]
    tiff.unlink()
    assert tiff.with_suffix(".png") in [e.path for e in load_all(config(data_dir)).test]


def test_unicode_ids_and_a_byte_order_mark_are_read(data_dir):
    image_path(data_dir, 0).rename(data_dir / "train_images" / "łódź-前列腺.tiff")
    write_rows(data_dir, [["łódź-前列腺", "radboud", " 1 ", "3+3"]], encoding="utf-8-sig")
    (example,) = load_all(config(data_dir)).test
    assert (example.image_id, example.target) == ("łódź-前列腺", 1)


def test_no_such_folder_is_an_error(tmp_path):
    assert f"data_dir={tmp_path / 'none'}: is not a folder" in error_of(config(tmp_path / "none"))


def test_no_train_csv_is_an_error(data_dir):
    (data_dir / "train.csv").unlink()
    message = error_of(config(data_dir))
    assert message.startswith(f"{data_dir / 'train.csv'}: does not exist")
    assert "train_images/<image_id>.tiff" in message


def test_no_train_images_is_an_error(data_dir):
    shutil.rmtree(data_dir / "train_images")
    assert "train_images: does not exist" in error_of(config(data_dir))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"image_id,isup_grade\n", "has a header but no rows"),
        (b"image_id,gleason_score\na,3+3\n", "no column isup_grade (found 'image_id', 'gleason"),
        (b"image_id;isup_grade\na;3\n", "no column image_id (found 'image_id;isup_grade')"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is not UTF-8 text"),
        ("image_id,isup_grade\na,3\n".encode("utf-16"), "is not UTF-8 text"),
        (b"\0" * 300, "train.csv"),
        (b'image_id,isup_grade\n"' + b"x" * 200_000 + b'",3\n', "is not CSV"),
    ],
    ids=["empty", "header", "column", "semicolons", "binary", "utf16", "zeros", "huge_field"],
)
def test_bad_csv_files_are_errors(data_dir, content, message):
    (data_dir / "train.csv").write_bytes(content)
    assert message in error_of(config(data_dir))
    assert len(error_of(config(data_dir))) < 500


@pytest.mark.parametrize("grade", ["9", "-1", "", "two", "3.5", "9.0", ".0", "٣"])
def test_grades_out_of_range_are_errors(data_dir, grade):
    ids = image_ids(data_dir)
    write_rows(data_dir, [[ids[0], "radboud", "1", "3+3"], [ids[1], "radboud", grade, "3+3"]])
    message = error_of(config(data_dir))
    assert f"train.csv line 3: image_id {ids[1]!r} has isup_grade {grade!r}" in message
    assert "0 to 5" in message


@pytest.mark.parametrize("image_id", ["../secret", "/etc/passwd", "a/b", "a\\b", "..", ".", ""])
def test_ids_that_leave_the_folder_are_errors(data_dir, image_id):
    write_rows(data_dir, [[image_id, "radboud", "1", "3+3"]])
    assert f"image_id {image_id!r} must be a plain file name" in error_of(config(data_dir))


def test_duplicate_ids_are_errors(data_dir):
    ids = image_ids(data_dir)
    write_rows(data_dir, [[ids[0], "radboud", "1", "3+3"]] * 2)
    assert f"line 3: image_id {ids[0]!r} is listed twice" in error_of(config(data_dir))


@pytest.mark.parametrize(
    "kind, message",
    [
        ("missing", "does not exist"),
        ("truncated", "cut short"),
        ("text", "is not an image"),
        ("zero_bytes", "is empty"),
        ("folder", "is a folder"),
        ("small", "is 500 x 20 px, smaller than patch_size=32"),
    ],
)
def test_bad_images_are_errors_or_are_skipped_and_counted(data_dir, kind, message):
    paths = sorted([image_path(data_dir, 3), image_path(data_dir, 7)])
    for path in paths:
        damage(kind, path)
    text = error_of(config(data_dir))
    assert text.startswith(f"{paths[0]}: ")
    assert message in text
    assert "2 of 18 images cannot be used; --set skip_bad_images=true" in text
    data = load_dataset(config(data_dir, skip_bad_images=True))
    assert data.num_skipped == 2
    assert len(data.train) + len(data.val) == 16
    assert not set(paths) & {e.path for e in data.train + data.val}


def test_only_bad_images_are_an_error_even_when_skipped(data_dir):
    for path in (data_dir / "train_images").iterdir():
        path.write_bytes(b"")
    message = error_of(config(data_dir, skip_bad_images=True))
    assert "none of its 18 images can be used" in message


def checked_files(cache_folder: Path) -> list[Path]:
    return sorted((cache_folder / "checked").iterdir())


def test_good_images_are_not_decoded_twice(data_dir, cache_folder, monkeypatch):
    first = load_dataset(config(data_dir))

    def fail(*_):
        raise DataError("decoded again; it must not be")

    monkeypatch.setattr("patchtrain.datasets.example.open_image", fail)
    assert load_dataset(config(data_dir)) == first
    assert "decoded again" in error_of(config(data_dir, image_size=128))


def test_a_file_that_changed_is_decoded_again(data_dir):
    load_dataset(config(data_dir))
    damage("truncated", image_path(data_dir, 0))
    assert "cut short" in error_of(config(data_dir))


def test_remembered_images_are_still_compared_with_the_patch(data_dir):
    load_dataset(config(data_dir, image_size=512, patch_size=64))
    message = error_of(config(data_dir, image_size=512, patch_size=256))
    assert "is 128 x 128 px, smaller than patch_size=256" in message
    # without patches no image is too small
    load_dataset(config(data_dir, image_size=512, patch_size=256, method="full"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": [1]}', "\udcff"])
def test_a_damaged_memory_is_rebuilt(data_dir, cache_folder, content):
    first = load_dataset(config(data_dir))
    (path,) = checked_files(cache_folder)
    path.write_text(content, errors="surrogateescape")
    assert load_dataset(config(data_dir)) == first
    assert len(json.loads(path.read_text())) == 18


def test_a_cache_that_cannot_be_written_does_not_matter(data_dir, cache_folder):
    cache_folder.write_text("a file in the way")
    assert load_dataset(config(data_dir)).num_skipped == 0


@pytest.mark.parametrize("suffix", [".TIFF", ".PNG", ".jpeg", ".JPG", ".Tif", ".webp", ".BMP"])
def test_images_may_end_in_any_suffix_and_case(data_dir, suffix):
    path = image_path(data_dir, 2)
    Image.open(path).convert("RGB").save(path.with_suffix(suffix))
    path.unlink()
    data = load_dataset(config(data_dir))
    found = {e.image_id: e.path.name for e in (*data.train, *data.val)}
    assert found[path.stem] == path.stem + suffix


def test_names_in_another_unicode_form_are_found(data_dir):
    rows = [[name, "x", "1", ""] for name in image_ids(data_dir)]
    rows[0][0] = unicodedata.normalize("NFC", "Präparat 1")
    path = image_path(data_dir, 0)
    path.rename(path.with_name(unicodedata.normalize("NFD", "Präparat 1.tiff")))
    write_rows(data_dir, rows)
    data = load_dataset(config(data_dir))
    assert rows[0][0] in {e.image_id for e in (*data.train, *data.val)}


def test_tables_as_pandas_and_spreadsheets_write_them_are_read(data_dir):
    ids = image_ids(data_dir)
    for number, image_id in enumerate(ids):
        path = data_dir / "train_images" / f"{image_id}.tiff"
        path.rename(path.with_name(f"{number}.tiff"))
    rows = [[f"{number}.0", "x", f"{number % 6}.0", ""] for number in range(len(ids))]
    write_rows(data_dir, [*rows, ["", "", "", ""], [" ", "", "", ""]])
    data = load_dataset(config(data_dir))
    examples = {e.image_id: e for e in (*data.train, *data.val)}
    assert len(examples) == len(ids)
    assert (examples["7.0"].path.name, examples["7.0"].target) == ("7.tiff", 1)


def test_a_split_file_may_write_ids_as_floats(data_dir, tmp_path):
    ids = image_ids(data_dir)[:4]
    for number, image_id in enumerate(ids):
        path = data_dir / "train_images" / f"{image_id}.tiff"
        path.rename(path.with_name(f"{number}.tiff"))
    write_rows(data_dir, [[str(number), "x", "0", ""] for number in range(4)])
    split = tmp_path / "split.csv"
    split.write_text("image_id,split\n0.0,train\n1.0,train\n2.0,val\n3.0,val\n")
    data = load_dataset(config(data_dir, split_file=str(split)))
    assert [e.image_id for e in data.val] == ["2", "3"]
